"""What was found, and when it is looked at again: what is not reported yet when it would be, all else now and then."""

import time
from collections.abc import Iterable

from ..config.schema import Confirm
from ..model import Finding, Kind

AGAIN = 60.0
"""Seconds after which what is confirmed is looked at again, and judged by what else it depends on, such as an engine's
record. The end of its superblock, or of a namespace, is noticed before.
"""
_EARLY = 0.05
"""Seconds before its confirm time at which a namespace may be read for it: clocks are read one after the other."""


class Suspects:
    """The findings of the last scan, without severed roots."""

    def __init__(self) -> None:
        self.devices: frozenset[str] = frozenset()
        """Of the mounts that were found, but for those that home itself has."""
        self._since: dict[str, float] = {}
        """When each was first found, by its id (monotonic clock)."""
        self._next: dict[str, float] = {}
        """When each is looked at again; scans that come before that put it off no further."""
        self._due = float("inf")

    def update(self, findings: Iterable[Finding], confirm: Confirm, clock: float) -> dict[int, float]:
        """These were found by a scan that began at `clock`. When each of their namespaces is to be read again."""
        findings = tuple(findings)
        self._since = {one.id: self._since.get(one.id, clock) for one in findings}
        before, self._next = self._next, {}
        times: dict[int, float] = {}
        for one in findings:
            wishes = self._since[one.id] + confirm.needed(one) - _EARLY, before.get(one.id, clock), clock + AGAIN
            due = self._next[one.id] = next(wish for wish in wishes if wish > clock)
            times |= {inode: min(due, times.get(inode, due)) for inode in one.namespaces}
        self.devices = frozenset(one.device for one in findings if one.kind is not Kind.ABANDONED)
        self._due = min((clock + AGAIN, *times.values()))
        return times

    def is_due(self) -> bool:
        """Whether any is to be looked at now."""
        return time.monotonic() >= self._due
