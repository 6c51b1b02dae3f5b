"""Which processes keep mounts busy that no namespace shows any more.

That takes a search of every descriptor of every process, which is therefore made rarely. In between, those that were
found are asked whether they still do; where none does any more, all are searched again.
"""

import os
import time
from collections.abc import Iterable

from ..model import Namespace, Use
from . import directory_users
from .budgets import Budgets
from .every_namespace import read_each

PERIOD = 10.0
"""Seconds between two searches. Such a mount is reported after 30 s; a busy host unmounts many times a second."""


class DetachedUsers:
    """Answers which processes keep mounts busy: of those that a search found which is at most `PERIOD` seconds old."""

    def __init__(self) -> None:
        self._answers: dict[frozenset[int], tuple[Use, ...]] = {}
        self._searched = float("-inf")

    def users(
        self, asked: Iterable[frozenset[int]], spaces: Iterable[Namespace], budgets: Budgets | None = None
    ) -> tuple[dict[frozenset[int], tuple[Use, ...]], frozenset[frozenset[int]]]:
        """The users of each set of small mount ids that the last search was for, and the sets without users.

        `spaces` are all mount namespaces.

        Raises: OSError as a search of /proc does, but for processes that have ended or may not be read.
        """
        sets = set(asked)
        if not sets:
            return {}, frozenset()
        if time.monotonic() - self._searched >= PERIOD or not self._are_there(sets):
            self._answers = _search(sets, spaces, budgets)
            self._searched = time.monotonic()
        known = {ids: self._answers[ids] for ids in sets if ids in self._answers}
        return known, frozenset(ids for ids, users in known.items() if not users)

    def _are_there(self, sets: Iterable[frozenset[int]]) -> bool:
        """Whether of each set that had users some are left; a child of theirs may have it by now."""
        still = {ids: _still(ids, users) for ids in sets if (users := self._answers.get(ids))}
        self._answers |= still
        return all(still.values())


def _search(
    asked: set[frozenset[int]], spaces: Iterable[Namespace], budgets: Budgets | None
) -> dict[frozenset[int], tuple[Use, ...]]:
    proc = directory_users.open_proc()
    try:
        found = directory_users.users_by_mount(proc, frozenset().union(*asked))
    finally:
        os.close(proc)
    for mount in _attached(found, spaces, budgets) if found else ():
        del found[mount]
    return {ids: tuple(use for mount in sorted(ids) for use in found.get(mount, ())) for ids in asked}


def _still(ids: frozenset[int], users: tuple[Use, ...]) -> tuple[Use, ...]:
    """Those of the processes that still keep one of the mounts."""
    proc = directory_users.open_proc()
    try:
        found = directory_users.users_by_mount(proc, ids, sorted({use.pid for use in users}))
    finally:
        os.close(proc)
    return tuple(use for mount in sorted(found) for use in found[mount])


def _attached(ids: Iterable[int], spaces: Iterable[Namespace], budgets: Budgets | None) -> set[int]:
    """Those of the ids that some namespace shows. Such an id belongs to a new mount: nothing keeps the old one busy.

    The kernel reuses a small id as soon as nothing keeps its mount. A namespace that can't be read is passed over.
    """
    asked = {b"%d" % identity for identity in ids}
    found = (made for _inode, made in read_each(spaces, lambda _inode, lines: lines.find(asked), budgets=budgets))
    return {int(identity) for made in found if isinstance(made, dict) for identity in made}
