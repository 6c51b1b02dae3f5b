"""Many leaks at once, and a scanner that counts its scans."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import pytest
from mountwarden.config.schema import Config
from mountwarden.kernel import syscalls
from mountwarden.model import Finding, Outcome
from mountwarden.observe.enter import own_namespace
from mountwarden.remedies import detach
from mountwarden.scan.result import Scan
from mountwarden.scan.scanner import Scanner

from tests.kernel import crash
from tests.kernel.topology import ROOT
from tests.support.scratch_ns import Namespace, Sandbox, hold, overlay

T = TypeVar("T")


def layer(number: int) -> bytes:
    return ROOT + b"/L%04d" % number


def merged(number: int) -> bytes:
    return layer(number) + b"/merged"


class Counting(Scanner):
    """Counts its scans."""

    scans = 0

    def scan(self, *, resync: bool = False) -> Scan:
        self.scans += 1
        return super().scan(resync=resync)


def scanner(config: Config = crash.CONFIG) -> Counting:
    return Counting(config, home=own_namespace())


def leaks(count: int, within: Callable[[Namespace, list[Finding]], T], root: bytes = ROOT) -> Callable[[Sandbox], T]:
    """Calls `within` with the holder of so many leaks and the findings of them."""

    def run(_sandbox: Sandbox) -> T:
        for number in range(count):
            overlay(layer(number))
        with hold() as holder:
            for number in range(count):
                syscalls.umount(merged(number))
            found = [finding for finding in scanner().scan().findings if finding.kind == "leaked"]
            assert len(found) == count
            return within(holder, sorted(found, key=lambda finding: finding.mountpoint))

    return run


def held(holder: Namespace) -> int:
    """How many mounts below the root the holder has."""
    return sum(b" " + ROOT + b"/" in line for line in holder.mountinfo().splitlines())


def meddle_behind_the_shared_checks(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]) -> None:
    """Make a change at home after all that a batch shares was checked, and before its first rename."""
    at_home, changes = detach.at_home, iter((change,))

    def meddled(home: int | None, scan: Scan, function: Callable[[], T]) -> T:
        for changing in changes:
            changing()
        return at_home(home, scan, function)

    monkeypatch.setattr(detach, "at_home", meddled)


def codes(outcomes: Iterable[Outcome]) -> dict[bytes, str]:
    return {outcome.finding.mountpoint: outcome.code for outcome in outcomes}
