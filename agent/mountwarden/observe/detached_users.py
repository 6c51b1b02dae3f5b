"""Which processes hold mounts that no namespace shows any more: a scan of every descriptor, so made rarely."""

import os
import time
from collections.abc import Iterable

from ..errors import NoAnswer
from ..model import Use
from ..mounts.mountinfo import Lines
from . import directory_users, namespaces, processes

PERIOD = 10.0
"""Seconds between two scans. What is pinned is told after 30 s, and a busy host unmounts many times a second."""


class Pins:
    """Answers who holds mounts by their ids, from a scan that is at most `PERIOD` old."""

    def __init__(self) -> None:
        self._answers: dict[frozenset[int], tuple[Use, ...]] = {}
        self._scanned = float("-inf")

    def users(
        self, asked: Iterable[frozenset[int]]
    ) -> tuple[dict[frozenset[int], tuple[Use, ...]], frozenset[frozenset[int]]]:
        """The users of each set of ids as far as known, and the sets that were seen to have none."""
        wanted = set(asked)
        if not wanted:
            return {}, frozenset()
        if time.monotonic() - self._scanned >= PERIOD:
            self._answers = _scan(wanted)
            self._scanned = time.monotonic()
        known = {ids: self._answers[ids] for ids in wanted if ids in self._answers}
        return known, frozenset(ids for ids, users in known.items() if not users)


def _scan(wanted: set[frozenset[int]]) -> dict[frozenset[int], tuple[Use, ...]]:
    proc = directory_users.open_proc()
    try:
        found = directory_users.users_by_mount(proc, frozenset().union(*wanted))
    finally:
        os.close(proc)
    for mount in _attached(found) if found else ():
        del found[mount]
    return {ids: tuple(use for mount in sorted(ids) for use in found.get(mount, ())) for ids in wanted}


def _attached(ids: Iterable[int]) -> set[int]:
    """Those of the ids that some namespace shows. Such an id was given to a new mount: the old one is held by nobody.

    Small ids are free for reuse as soon as nothing holds their mount.
    """
    ids, shown = frozenset(ids), set[int]()
    for inode, pids in namespaces.members(processes.pids(), threads=False).by_inode.items():
        try:
            lines = Lines(namespaces.read_mountinfo(inode, pids) or b"")
        except (OSError, NoAnswer):
            continue
        shown |= {mount for mount in ids if lines.by_id(mount) is not None}
    return shown
