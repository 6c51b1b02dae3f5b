"""A host that does not exist, for the service's loop: a script of scans, clients who ask, a journal that remembers."""

import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from mountwarden.config.schema import Config, Confirm, Mode
from mountwarden.model import Action, Finding, Gap, Missed, Outcome, Picture, Tier
from mountwarden.output import journal_messages
from mountwarden.scan.part import Part
from mountwarden.scan.result import Scan
from mountwarden.service import schedule
from mountwarden.service.actions import AutomaticActions, CarryOut
from mountwarden.service.loop import Agent
from mountwarden.service.outbox import Outbox
from mountwarden.service.reporter import Reporter
from mountwarden.service.settings import OperatorSettings
from mountwarden.service.triggers import Wake
from mountwarden.state.run_directory import RunDirectory
from mountwarden.systemd.journal import Entry, Journal

FAST = Config(mode=Mode.OBSERVE, tick=0.01, confirm=Confirm(layer=0.0))


class Host:
    """A scanner, the triggers and systemd in one: a script of scans, then SIGTERM."""

    has_inotify = has_unit_signals = True
    watchdog = None
    boot_id = "boot"
    wake = None
    due = None, None
    presses = suspects = False
    excess = 0.0

    def __init__(self, *scans: object) -> None:
        self.config = FAST
        self.scans = list(scans)
        self.said: list[str] = []
        self.wakes: list[frozenset[Wake]] = []

    def close(self) -> None:
        """Nothing is open."""

    def peek(self) -> bool:
        return True

    def recheck(self) -> None:
        """Nothing was unmounted."""

    def scan(self, part: Part | None = None, *, resync: bool = False) -> Scan:
        said = self.scans.pop(0)
        if isinstance(said, Exception):
            raise said
        findings: Any = () if isinstance(said, Missed) else said
        picture = Picture("boot", Tier.MOUNTINFO, (), {}, (), 0)
        missed = (said,) if isinstance(said, Missed) else ()
        return Scan(picture, tuple(findings), (), 1e9, 0.001, Tier.MOUNTINFO, "why", missed=missed)

    def wait(self, seconds: float, *, scan: bool = False, look: bool = False) -> frozenset[Wake]:
        return self.drain()

    def drain(self) -> frozenset[Wake]:
        if self.wakes:
            return self.wakes.pop(0)
        return frozenset() if self.scans else frozenset({Wake.TERMINATE})

    def watch(self, wanted: Iterable[object]) -> bool:
        self.said.append("watch")
        return True

    def follow(self, events: int | None) -> None:
        assert events is None

    def also(self, fd: int) -> None:
        self.said.append(f"also {fd}")

    def listen(self) -> None:
        self.said.append(f"listen, {len(self.scans)} scans left")

    def ready(self) -> None:
        self.said.append("ready")

    def reloading(self) -> None:
        self.said.append("reloading")

    def stopping(self) -> None:
        self.said.append("stopping")

    def alive(self) -> None:
        self.said.append("alive")

    def status(self, text: str) -> None:
        self.said.append(f"status {text}")


class Reported(Journal):
    """A journal that remembers."""

    def __init__(self) -> None:
        super().__init__(stderr=io.StringIO())
        self.entries: list[dict[str, str]] = []

    @property
    def structured(self) -> bool:
        return False

    def send(self, entry: Entry) -> bool:
        self.entries.append(dict(entry))
        return True


def no_action(batch: Sequence[Finding], action: Action, go_on: Callable[[], bool]) -> Iterable[Outcome]:
    raise AssertionError(f"{action} of {batch[0].id} although the mode is observe")


def no_cause(findings: Iterable[Finding], picture: Picture) -> tuple[tuple[Finding, ...], tuple[Gap, ...]]:
    return tuple(findings), ()


class Callers:
    """Clients who ask for a scan, or for nothing, as the loop meets them."""

    def __init__(self, host: Host, *, wants: bool = False, needs: bool = False) -> None:
        self.wants_scan, self.needs_scan, self.of_root = wants, needs, False
        self.host, self.told = host, list[str]()

    def open(self, publisher: object, reporter: object) -> int:
        return 77

    def serve(self) -> None:
        self.told.append("serve")

    def at_most(self, seconds: float) -> float:
        return seconds

    def scanned(self, results: object) -> bool:
        self.told.append(f"scanned, {len(self.host.scans)} left")
        self.wants_scan = self.needs_scan = False
        return False

    def no_scan(self) -> None:
        self.told.append("no scan")
        self.wants_scan = False

    def failed(self, why: str) -> None:
        self.told.append(why)

    def close(self) -> None:
        self.told.append("close")


def serve(
    host: Host,
    path: Path,
    load: Callable[[], Config] = lambda: FAST,
    clients: Callers | None = None,
    carry_out: CarryOut = no_action,
) -> tuple[int, list[dict[str, str]]]:
    """Run the loop to its end: (exit status, what it reported).

    A scan that finds something costs milliseconds here: ticks are not stretched by that, to seconds.
    """
    run, journal = RunDirectory(path), Reported()
    service = Agent(
        host,
        OperatorSettings(load, b"/etc/mountwarden", run),
        Reporter(Outbox(run, journal), no_cause, host.boot_id),
        AutomaticActions(run, carry_out),
        host,  # type: ignore[arg-type]
        host,  # type: ignore[arg-type]
        clients,  # type: ignore[arg-type]
    )
    with mock.patch.object(schedule, "TICK_FACTOR", 1.0):
        return service.run(), journal.entries


def kinds(entries: list[dict[str, str]]) -> list[str]:
    by_id = {identity: kind.value for kind, identity in journal_messages.IDS.items()}
    return [by_id[entry["MESSAGE_ID"]] for entry in entries]
