"""Whether a mount namespace still lives of which all known processes have ended, and a way into it where it does.

It has ended only where that is proved: by the walk over all namespaces (Linux 6.12), by its 64-bit id (6.11), or
because no process was made unseen since the processes were listed. Where neither it nor its end is seen, that is a gap.
"""

import errno
import os
import time
from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

from ..errors import NoAnswer
from ..kernel import abi, syscalls
from ..kernel.probe import probe
from ..model import Door, Namespace
from . import entries, namespaces, processes
from .mount_lines import USUAL, OpenMountinfo, ReadingLimits
from .newcomers import Newcomers

T = TypeVar("T")

SECONDS = 0.02
"""How long newcomers are asked for until none ends unasked."""
SEARCH = 0.1
"""The same in a search for namespaces that are not known yet."""
AT_MOST = 0.06
"""Most time to find a process of a namespace that has lost all it had, for all namespaces of a scan together."""
UNREAD = "its processes end before it can be read"
_NO_WALK = (errno.EPERM, errno.ENOTTY, errno.EINVAL, errno.EOPNOTSUPP)
_NOBODY = (errno.ENOENT, errno.ESRCH)


def may_walk() -> bool:
    """Whether the kernel lets us walk over all mount namespaces."""
    return probe().walk.available


class Living:
    """Made before the processes are listed; what it says holds from then on. `close` gives back what it holds open."""

    def __init__(self) -> None:
        self.newcomers = Newcomers()
        self._walked: frozenset[int] | None = None
        self._asked = False
        self._met: dict[int, list[int]] = {}
        """The newcomers of each namespace."""
        self._held: list[int] = []
        self._left = AT_MOST

    def list_processes(self) -> None:
        """Take what a listing shows now, threads too, for newcomers, where nothing else lists them."""
        found = namespaces.members(processes.pids(), threads=True).by_inode
        self._met = {inode: list(ids) for inode, ids in found.items()}
        self.newcomers.are_known(number for ids in found.values() for number in ids)

    def newly_seen(self, missing: Collection[int], *, search: bool) -> dict[int, list[int]]:
        """Processes and threads made since, by namespace: those that are there at this moment.

        With `missing` namespaces or `search`, until none ends unasked, or these are found.
        """
        until = time.monotonic() + (SEARCH if search else SECONDS)
        while True:
            self._ask()
            left = search or any(inode not in self._met for inode in missing)
            if not left or self.newcomers.all_asked or time.monotonic() > until or self._walk() is not None:
                return {inode: list(ids) for inode, ids in self._met.items()}

    @property
    def sees_all(self) -> bool:
        """Whether no namespace can be unknown for the reason that its processes end too soon."""
        return self.newcomers.all_asked or self._walk() is not None

    def _ask(self) -> None:
        for number, inode in self.newcomers.ask().items():
            self._met.setdefault(inode, []).append(number)

    def ended(self, inodes: Collection[int], identities: Mapping[int, int]) -> set[int]:
        """Those of the namespaces that are proved to have ended, where no listing and no newcomer shows them."""
        walked = self._walk() if inodes else None
        if walked is not None:
            return set(inodes) - walked
        unseen = self.newcomers.all_asked
        return {inode for inode in inodes if _has_ended(identities.get(inode), unseen=unseen)}

    def way(self, inode: int, identity: int | None) -> Door | None:
        """A door into a namespace whose known processes have ended; None: so has the namespace. `identity` is its id.

        Raises: NoAnswer where neither can be said.
        """
        walked = self._walk()
        if walked is not None:
            return Door("walk") if inode in walked else None
        door, unseen = self._caught(inode)
        if door is None and not _has_ended(identity, unseen=unseen):
            raise NoAnswer(UNREAD)
        return door

    def _walk(self) -> frozenset[int] | None:
        """The walk over all namespaces, once; None where it is refused."""
        if not self._asked:
            self._asked = True
            try:
                self._walked = frozenset(entries.walk())
            except OSError as error:
                if error.errno not in _NO_WALK:
                    raise
            except NoAnswer:
                pass
        return self._walked

    def _caught(self, inode: int) -> tuple[Door | None, bool]:
        """A door that we hold open, by the first newcomer that is met alive; or whether there can be none."""
        began = time.monotonic()
        until = began + min(SECONDS, self._left)
        try:
            return self._catch(inode, until)
        finally:
            self._left -= time.monotonic() - began

    def _catch(self, inode: int, until: float) -> tuple[Door | None, bool]:
        while True:
            self._ask()
            met = self._met.pop(inode, [])
            for number in reversed(met):
                if door := self.hold(number, inode):
                    return door, False
            if not met and self.newcomers.all_asked:
                return None, True
            if time.monotonic() > until:
                return None, False

    def hold(self, pid: int, inode: int) -> Door | None:
        """A door by a descriptor of our own, open until `close`; None where the process has ended or left.

        Raises: NoAnswer where it may not be opened.
        """
        try:
            fd = _opened(pid)
        except OSError as error:
            if error.errno not in _NOBODY:
                raise
            return None
        if os.fstat(fd).st_ino != inode:
            os.close(fd)
            return None
        self._held.append(fd)
        return Door("fd", os.getpid(), b"/proc/%d/fd/%d" % (os.getpid(), fd))

    def close(self) -> None:
        """Close what is held, so that it is not this process that closes a namespace last."""
        while self._held:
            entries.close_in_child(self._held.pop())


def _opened(pid: int) -> int:
    try:
        return os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        processes.raise_if_ended(pid)
        raise NoAnswer(UNREAD) from None


def _has_ended(identity: int | None, *, unseen: bool) -> bool:
    exists = None if identity is None else _exists(identity)
    return unseen if exists is None else not exists


def _exists(identity: int) -> bool | None:
    """Whether there is a namespace with that id; None where that can't be asked."""
    try:
        syscalls.listmount(abi.LSMT_ROOT, 0, identity, syscalls.id_buffer(1))
    except OSError as error:
        return False if error.errno == errno.ENOENT else None
    return True


class Ways:
    """Ways into namespaces whose known processes have ended, asked for one after the other."""

    def __init__(self) -> None:
        self._living: Living | None = None

    def into(self, inode: int, identity: int | None = None) -> Door | None:
        """As `Living.way`."""
        if self._living is None:
            self._living = Living()
            self._living.list_processes()
        return self._living.way(inode, identity)

    def close(self) -> None:
        """Give back what is held open."""
        if self._living is not None:
            self._living.close()


def read(
    ways: Ways, space: Namespace, function: Callable[[OpenMountinfo], T], limits: ReadingLimits = USUAL
) -> T | None:
    """As `namespaces.read`; None only where it is proved that the namespace has ended, or where `function` gives None.

    Raises: also NoAnswer where neither it nor its end is seen.
    """
    made = namespaces.read(space.inode, space.pids, function, space.door, limits)
    door = ways.into(space.inode, space.id) if made is None else None
    return made if door is None else namespaces.read(space.inode, (), function, door, limits)
