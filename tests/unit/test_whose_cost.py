"""What users and containers make a scan cost puts off no scan of the service."""

from pathlib import Path

import pytest
from mountwarden.scan.part import Part
from mountwarden.scan.result import Scan
from mountwarden.service import loop
from mountwarden.service.schedule import Schedule

from tests.support.loop_host import Host, serve


class Costly(Host):
    """Each scan takes five seconds of the processor, of which `users` are for what users have."""

    def __init__(self, users: float, *scans: object) -> None:
        super().__init__(*scans)
        self.users, self.cpu = users, 0.0

    def scan(self, part: Part | None = None, *, resync: bool = False) -> Scan:
        self.cpu += 5.0
        self.excess += self.users
        return super().scan(part, resync=resync)


@pytest.mark.parametrize("users", [0.0, 4.75, 5.0])
def test_a_scan_costs_the_service_what_is_not_for_users(
    users: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, owed = Costly(users, []), list[float]()
    done = Schedule.done

    def noted(self: Schedule, started: float, ended: float, cost: float, **more: object) -> None:
        done(self, started, ended, cost, **more)  # type: ignore[arg-type]
        owed.append(cost)

    monkeypatch.setattr(Schedule, "done", noted)
    monkeypatch.setattr(loop, "_cpu", lambda: host.cpu)
    assert serve(host, tmp_path)[0] == 0
    assert owed == [5.0 - users]
