"""The loop with a host that does not exist: how it fails, retries, reloads and ends."""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from mountwarden.config.schema import Config, Mode
from mountwarden.errors import ConfigError
from mountwarden.model import Action, Finding, Missed, Outcome
from mountwarden.scan.part import Part
from mountwarden.scan.result import Scan
from mountwarden.service import actions, loop, reporter, schedule
from mountwarden.service.allowance import BURST, Allowance
from mountwarden.service.loop import FAILURES
from mountwarden.service.triggers import Wake

from tests.support.findings import finding
from tests.support.loop_host import FAST, Callers, Host, kinds, serve


def test_it_scans_until_sigterm_and_says_so(tmp_path: Path) -> None:
    host = Host([], [], [])
    assert serve(host, tmp_path)[0] == 0
    assert host.said[-1] == "stopping"
    assert host.scans == []


def test_found_and_cleared(tmp_path: Path) -> None:
    one = finding(1)
    assert kinds(serve(Host([one], [one], [one], []), tmp_path)[1]) == ["started", "found", "cleared"]


def test_missed_mount_events_are_reported_at_once_and_then_once_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overflow, budget = Missed("overflow", "the queue was full"), Missed("budget", "one makes too many")
    events = serve(Host(overflow, overflow, budget, overflow, []), tmp_path)[1]
    assert kinds(events[1:]) == ["missed", "missed"]
    assert [event["MOUNTWARDEN_TEXT"] for event in events[1:]] == ["the queue was full", "one makes too many"]
    monkeypatch.setattr(reporter, "MISSED_SECONDS", 0.0)
    events = serve(Host(overflow, overflow, []), tmp_path)[1]
    assert [event["MOUNTWARDEN_COUNT"] for event in events[1:]] == ["1", "1"]


def test_a_failing_scan_is_reported_once_and_tried_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = finding(1)
    broken = [OSError(5, "Input/output error")] * (FAILURES - 1)
    status, events = serve(Host([one], [one], *broken, [one], []), tmp_path)
    assert status == 0
    assert kinds(events) == ["started", "found", "look-failed", "cleared"]
    assert "Input/output error" in events[2]["MOUNTWARDEN_TEXT"]
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert all(line.startswith("<7>") for line in lines), "the traceback is for debugging, not an alert"


def test_a_scan_that_works_ends_the_row_of_failures(tmp_path: Path) -> None:
    broken = [ValueError("no")] * (FAILURES - 1)
    status, events = serve(Host(*broken, [], *broken, []), tmp_path)
    assert status == 0
    assert kinds(events) == ["started", "look-failed", "look-failed"]


def test_a_file_that_came_before_its_directory_was_watched_is_loaded(tmp_path: Path) -> None:
    new = replace(FAST, tick=0.02)
    answers = [FAST, new, new]
    host = Host([], [], [])
    host.wakes = [frozenset(), frozenset({Wake.CONFIG})]
    serve(host, tmp_path, lambda: answers.pop(0))
    assert host.config is new


def test_it_listens_for_units_after_a_full_scan_and_never_before_the_first(tmp_path: Path) -> None:
    class Changing(Host):
        def scan(self, part: Part | None = None, *, resync: bool = False) -> Scan:
            scan = super().scan(part, resync=resync)
            self.wakes = [frozenset({Wake.ROOTS})] if len(self.scans) == 1 else []
            return scan

    host = Changing(OSError(5, "Input/output error"), [], [], [], [])
    serve(host, tmp_path)
    assert [said for said in host.said if said.startswith("listen")] == ["listen, 3 scans left", "listen, 0 scans left"]


def test_a_service_s_job_is_a_reason_to_scan(tmp_path: Path) -> None:
    class Starting(Host):
        def wait(self, seconds: float, *, scan: bool = False, look: bool = False) -> frozenset[Wake]:
            assert not look, "mounts are not put off by it"
            return super().wait(seconds)

    host = Starting([], [])
    host.wakes = [frozenset(), frozenset(), frozenset({Wake.UNITS})]
    host.config = replace(FAST, tick=5.0)
    started = time.monotonic()
    serve(host, tmp_path)
    assert host.scans == []
    assert time.monotonic() - started < 2


def test_scans_that_fail_for_good_end_the_service(tmp_path: Path) -> None:
    host = Host(*[ValueError("no")] * (FAILURES + 5))
    status, events = serve(host, tmp_path)
    assert (status, len(host.scans)) == (1, 5)
    assert kinds(events) == ["started", "look-failed"]


def test_a_wrong_configuration_is_reported_and_the_old_one_kept(tmp_path: Path) -> None:
    def load() -> Config:
        raise ConfigError("mode: 'x' is no mode")

    host = Host([], [], [])
    host.wakes = [frozenset(), frozenset({Wake.RELOAD})]
    _status, events = serve(host, tmp_path, load)
    assert kinds(events) == ["started", "config-kept"]
    assert host.config is FAST
    assert "old configuration kept: mode: 'x' is no mode" in "\n".join(host.said)
    assert host.said.index("reloading") < host.said.index("ready"), "systemd waits for READY after a reload"


def test_a_good_configuration_is_taken(tmp_path: Path) -> None:
    new = replace(FAST, tick=0.02)
    host = Host([], [], [])
    host.wakes = [frozenset(), frozenset({Wake.CONFIG})]
    serve(host, tmp_path, lambda: new)
    assert host.config is new


def test_what_the_old_process_found_is_not_reported_again(tmp_path: Path) -> None:
    one = finding(1)
    assert kinds(serve(Host([one], [one]), tmp_path)[1]) == ["started", "found"]
    assert kinds(serve(Host([one], [one]), tmp_path)[1]) == ["started"]
    assert kinds(serve(Host([one], []), tmp_path)[1]) == ["started", "cleared"]


def test_a_full_state_directory_does_not_end_it(tmp_path: Path) -> None:
    (tmp_path / "report.json").mkdir()
    assert serve(Host([], [], []), tmp_path)[0] == 0


def test_clients_are_served_each_turn_and_hear_of_each_scan(tmp_path: Path) -> None:
    host = Host([], OSError("no"), [])
    callers = Callers(host)
    assert serve(host, tmp_path, clients=callers)[0] == 0
    assert "also 77" in host.said
    assert [one for one in callers.told if one != "serve"] == [
        "scanned, 2 left",
        "the scan failed: OSError: no",
        "scanned, 0 left",
        "close",
    ]
    assert callers.told[0] == "serve"


@pytest.mark.parametrize(
    ("wants", "of_root", "cost", "told"),
    [
        (True, False, 0.0, "scanned"),
        (True, False, 30.0, "no scan"),
        (True, True, 30.0, "scanned"),
        (False, False, 30.0, "scanned"),
    ],
)
def test_a_client_gets_its_scan_where_the_budget_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wants: bool, of_root: bool, cost: float, told: str
) -> None:
    """Without the client the next scan would come after an hour; the second one has cost so much already."""
    host, slow = Host([], []), replace(FAST, tick=3600.0)
    host.config = slow
    callers = Callers(host, wants=False)
    turns = 0

    def serve_one() -> None:
        nonlocal turns
        turns += 1
        if turns == 2:
            callers.wants_scan, callers.of_root, callers.needs_scan = wants, of_root, not wants
            service_schedule[0].debt = cost

    service_schedule: list[loop.Schedule] = []
    real = loop.Schedule

    def noted(*arguments: float, **more: float) -> loop.Schedule:
        service_schedule.append(real(*arguments, **more))
        return service_schedule[-1]

    monkeypatch.setattr(loop, "Schedule", noted)
    monkeypatch.setattr(callers, "serve", serve_one)
    monkeypatch.setattr(host, "wait", lambda seconds, scan=False, look=False: ended(host, callers, seconds))
    assert serve(host, tmp_path, lambda: slow, callers)[0] == 0
    assert callers.told[1].startswith(told)


def ended(host: Host, callers: Callers, seconds: float) -> frozenset[Wake]:
    """Nothing wakes the loop; SIGTERM does once a client was answered, or would wait for long."""
    over = len(callers.told) > 1 or seconds > 60
    if not over:
        time.sleep(seconds)
    return frozenset({Wake.TERMINATE}) if over else frozenset()


def test_metrics_in_a_directory_of_another_user_are_not_written_and_that_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "collector"
    place.mkdir()
    for owner, written in ((65534, False), (0, True)):
        os.chown(place, owner, 0)
        host = Host([], [finding(1)], [])
        host.config = replace(FAST, metrics=os.fsencode(place / "m.prom"))
        host.wakes = [frozenset({Wake.MOUNTS})] * 9
        assert serve(host, tmp_path / "run")[0] == 0
        assert (place / "m.prom").exists() is written
        said = f"{place} belongs to user 65534, and only root may own it"
        assert capsys.readouterr().err.count(said) == (not written)
        assert any(said in line for line in host.said) is not written


def test_a_scan_that_fails_is_paid_for_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one of a boot is free, and the second one owes so much that the third would come after 30 s."""
    spent, waited = [0.0], list[float]()
    monkeypatch.setattr(loop, "_cpu", lambda: spent[0])

    class Costly(Host):
        def scan(self, part: Part | None = None, *, resync: bool = False) -> Scan:
            spent[0] += 9.0
            return super().scan(part, resync=resync)

        def wait(self, seconds: float, *, scan: bool = False, look: bool = False) -> frozenset[Wake]:
            waited.append(seconds)
            return frozenset({Wake.TERMINATE}) if seconds > 20 else self.drain()

    host = Costly([], OSError(5, "no"), [])
    host.wakes = [frozenset({Wake.MOUNTS})] * 3
    assert serve(host, tmp_path)[0] == 0
    assert (20 < waited[-1] <= 30, len(host.scans)) == (True, 1)


def test_mounts_are_heard_while_a_scan_is_put_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else home is not looked at until the scan is paid for, and what lived there meanwhile has no history."""
    spent, heard, peeks = [0.0], list[tuple[bool, bool]](), [0]
    monkeypatch.setattr(loop, "_cpu", lambda: spent[0])

    class Costly(Host):
        def scan(self, part: Part | None = None, *, resync: bool = False) -> Scan:
            spent[0] += 9.0
            return super().scan(part, resync=resync)

        def peek(self) -> bool:
            peeks[0] += 1
            return peeks[0] == 1

        def wait(self, seconds: float, *, scan: bool = False, look: bool = False) -> frozenset[Wake]:
            heard.append((scan, look))
            if peeks[0] == 3:
                return frozenset({Wake.TERMINATE})
            time.sleep(min(seconds, 0.05))
            return frozenset() if look else frozenset({Wake.MOUNTS})

    host = Costly([], [], [])
    assert serve(host, tmp_path)[0] == 0
    assert (peeks[0], len(host.scans)) == (3, 1), "two more looks, and no third scan"
    assert (True, False) in heard
    assert (True, True) in heard


class Acting(Host):
    """A detach costs 8 s of processor time, and all the time that a cycle has for actions."""

    def __init__(self, *scans: object) -> None:
        super().__init__(*scans)
        self.config = replace(FAST, mode=Mode.ACT, tick=3600.0)
        self.spent, self.late, self.waited = 0.0, 0.0, list[float]()
        self.tried: list[tuple[str, int]] = []

    def carry_out(self, batch: Sequence[Finding], action: Action, go_on: Callable[[], bool]) -> Iterable[Outcome]:
        assert go_on()
        self.spent += 8.0
        self.late += actions.BUDGET
        self.tried += [(one.id, len(self.waited)) for one in batch]
        return [Outcome(one, action, True, "done", "text", "saw", "did", "verified") for one in batch]

    def wait(self, seconds: float, *, scan: bool = False, look: bool = False) -> frozenset[Wake]:
        self.waited.append(seconds)
        return super().wait(seconds)


def test_what_actions_cost_puts_no_scan_off_and_what_a_cycle_has_no_time_for_follows_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [finding(1), finding(2, mountpoint=b"/var/lib/docker/overlay2/Y/merged")]
    host, boot = Acting([], found, found, found, []), actions._boot
    host.wakes = [frozenset({Wake.MOUNTS})] * 20
    monkeypatch.setattr(loop, "_cpu", lambda: host.spent)
    monkeypatch.setattr(actions, "_boot", lambda: boot() + host.late)
    assert serve(host, tmp_path, lambda: host.config, carry_out=host.carry_out)[0] == 0
    (first, waited), (second, waited_then) = host.tried
    assert (first, second, waited) == (found[0].id, found[1].id, waited_then)
    assert max(host.waited[waited:-1]) < 1, "scans that see what was done are put off"


def test_actions_have_an_allowance_of_their_own() -> None:
    allowance = Allowance()
    allowance.spend(BURST - 1, 1000.0)
    assert allowance.allows(1000.0)
    allowance.spend(2.0, 1000.0)
    assert not allowance.allows(1000.0)
    assert not allowance.allows(1000.0 + 0.9 * schedule.COST_FACTOR)
    assert allowance.allows(1000.0 + 1.1 * schedule.COST_FACTOR)
