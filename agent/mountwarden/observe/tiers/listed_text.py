"""A namespace's text of mountinfo together with its list of unique mount ids.

The kernel takes both from one ordered tree: where the text is read between two equal lists, its lines are the mounts of
the list in the same order.
"""

import errno
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ...model import Door
from .. import namespaces, processless
from ..namespaces import read_mountinfo
from . import listing
from .delta import TextNeeded
from .listing import Identified, Lister, Vanished

_TRIES = 3
"""Attempts to read a text between two equal lists."""


@dataclass(frozen=True, slots=True)
class ListedText:
    """A text, and the list that fits it."""

    text: bytes
    identified: Identified | None = None
    """None where the list can't be had, or does not fit the text."""
    ids: bytes = b""
    unchanged: bool = True
    """False where the list changed while the text was read."""

    def uniques(self) -> Mapping[bytes, int]:
        """Unique ids by small ones as written; none where the list does not fit."""
        if self.identified is None:
            return {}
        smalls = [line.partition(b" ")[0] for line in self.text.split(b"\n")[:-1]]
        return dict(zip(smalls, memoryview(self.ids).cast("Q"), strict=True))


def read_listed(lister: Lister, inode: int, pids: tuple[int, ...], door: Door | None) -> ListedText | None:
    """Read a namespace by its processes, or by its door where it has none. None when nothing keeps it any more.

    Raises: OSError where it may not be read; NoAnswer where a child that entered it hung.
    """
    read = None
    for _ in range(_TRIES):
        if pids or door is None:
            read = _read_once(lister, lambda: identify(inode, pids), lambda: read_mountinfo(inode, pids, door))
        else:
            read = _read_from_inside(lister, inode, door)
        if read is None or read.unchanged:
            break
    return read


def fit(lister: Lister, identified: Identified, ids: bytes, text: bytes) -> ListedText:
    """The two together, if the lines are the mounts of the list in its order, by their number and by both ends.

    Raises: OSError as statmount(2) does.
    """
    uniques = memoryview(ids).cast("Q")
    lines = text[: text.find(b"\n")], text[text.rfind(b"\n", 0, -1) + 1 :]
    try:
        if len(uniques) == text.count(b"\n") and all(
            b"%d" % listing.small_id(lister.answer(identified.id, unique)) == line.partition(b" ")[0]
            for unique, line in zip((uniques[0], uniques[-1]), lines, strict=True)
        ):
            return ListedText(text, identified, ids)
    except (Vanished, IndexError):
        pass
    return ListedText(text)


def list_ids(lister: Lister, identity: int) -> bytes:
    """The list of the namespace with that 64-bit id.

    Raises: TextNeeded where it may not be asked; Vanished; other OSErrors as listmount(2) does.
    """
    try:
        return lister.ids(identity)
    except PermissionError:
        raise TextNeeded from None


def ids_or_none(lister: Lister, identified: Identified | None) -> bytes | None:
    """The list; None where it can't be had. Raises: OSError as listmount(2) does for other reasons."""
    try:
        return None if identified is None else list_ids(lister, identified.id)
    except (TextNeeded, Vanished):
        return None


def identify(inode: int, pids: Iterable[int]) -> Identified | None:
    """The namespace's 64-bit id, by one of its processes; None where none of them gives it.

    Raises: OSError other than for a process that has ended or may not be asked.
    """
    for pid in pids:
        try:
            if found := listing.identify(pid, inode):
                return found
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ESRCH, errno.EACCES, errno.EPERM):
                raise
    return None


def _read_from_inside(lister: Lister, inode: int, door: Door) -> ListedText | None:
    """By one child in a namespace without a process: once its id is known, it is listed from outside."""
    proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return processless.through(
            door,
            inode,
            lambda: _read_once(lister, lambda: listing.identify_self(proc), lambda: namespaces.read_self(proc)),
        )
    except (FileNotFoundError, ProcessLookupError):
        return None
    finally:
        os.close(proc)


def _read_once(
    lister: Lister, ask: Callable[[], Identified | None], read: Callable[[], bytes | None]
) -> ListedText | None:
    """One attempt."""
    identified = ask()
    before = ids_or_none(lister, identified)
    text = read()
    if text is None:
        return None
    after = ids_or_none(lister, identified)
    if identified is None or before is None or after is None:
        return ListedText(text)
    return fit(lister, identified, before, text) if before == after else ListedText(text, unchanged=False)
