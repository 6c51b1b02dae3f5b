"""Who may be in a mount namespace, or enter it, without being root of the host: with which ids.

A mount namespace is owned by a user namespace. Only who has CAP_SYS_ADMIN in that one may enter it, or mount in it:
processes of that user namespace and of those above it, and the users who made these (user_namespaces(7)). What they may
turn into is bounded by the outermost of them, the one right below the agent's own: ids of those below it are mapped
there too. Beside these ids a process keeps the ones that it had before, though they are not mapped.
"""

import contextlib
import errno
import functools
import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ..errors import NoAnswer
from ..kernel import abi, child, syscalls
from ..model import Identities, Namespace
from . import entries, processes
from .enter import DEADLINE

_GONE = (FileNotFoundError, ProcessLookupError)
_TRIES = 50
"""How often a process is looked for in a mount namespace whose processes have all ended since they were listed."""


class CannotTell(Exception):
    """Who may enter is not known, or it is root of the host: the text says why."""


@dataclass(frozen=True, slots=True)
class _Entrant:
    """One process: its user namespace, its effective user, and all its ids."""

    user_namespace: int
    effective: int
    ids: Identities


@dataclass(slots=True)
class _Owners:
    """User namespaces below the agent's own, which own a mount namespace or have a process in it."""

    inodes: set[int] = field(default_factory=set)
    uids: set[int] = field(default_factory=set)
    """Users who made them."""
    maps: dict[int, Identities] = field(default_factory=dict)
    """Ids that are mapped in the outermost ones, by their inodes."""


class _Census:
    """All processes that there are now. Raises: OSError of reading /proc."""

    def __init__(self, own: int) -> None:
        self.processes = {pid: one for pid in processes.pids() if (one := _entrant(pid)) is not None}
        self.within: dict[int, list[int]] = {}
        """Processes by their user namespace."""
        self.of_host: dict[int, list[Identities]] = {}
        """Ids of those in the agent's `own` user namespace, by their effective user."""
        for pid, one in self.processes.items():
            self.within.setdefault(one.user_namespace, []).append(pid)
            if one.user_namespace == own:
                self.of_host.setdefault(one.effective, []).append(one.ids)


class Entrants:
    """Answers for the processes that there are when it is first asked: for one action."""

    def __init__(self) -> None:
        self._own = os.stat("/proc/self/ns/user").st_ino
        self._known: dict[int, Identities | CannotTell] = {}

    @functools.cached_property
    def _census(self) -> _Census:
        return _Census(self._own)

    def of(self, space: Namespace) -> Identities:
        """The ids of all who may be in that mount namespace.

        Raises: CannotTell where it is owned by the agent's own user namespace, a process of that is in it, or
        something could not be found out.
        """
        if space.inode not in self._known:
            try:
                self._known[space.inode] = self._identities(space)
            except (OSError, NoAnswer, ValueError) as error:
                self._known[space.inode] = CannotTell(f"who may enter it can't be read: {error}")
            except CannotTell as error:
                self._known[space.inode] = error
        known = self._known[space.inode]
        if isinstance(known, CannotTell):
            raise known
        return known

    def _identities(self, space: Namespace) -> Identities:
        owners = _Owners()
        self._add_owner(space, owners)
        for pid in space.pids:
            self._add_of_process(pid, owners)
        known, within = self._census.processes, self._census.within
        inside = [one for pid in space.pids if (one := known.get(pid) or _entrant(pid)) is not None]
        beside = [known[pid] for inode in owners.inodes for pid in within.get(inode, ())]
        # Who made a user namespace has all rights in it from outside, by its effective user alone, in all its groups.
        makers = Identities(_each(owners.uids))
        groups = (Identities(gids=ids.gids) for uid in owners.uids for ids in self._census.of_host.get(uid, ()))
        return makers.joined([*owners.maps.values(), *(one.ids for one in (*inside, *beside)), *groups])

    def _add_of_process(self, pid: int, owners: _Owners) -> None:
        """Of a process that has ended nothing is added. Raises: CannotTell for one of the host."""
        try:
            inode = processes.link_inode(pid, "user")
            if inode == self._own:
                raise CannotTell(f"process {pid} of the host's own users is in it")
            if inode in owners.inodes:
                return
            fd = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        except _GONE:
            return
        try:
            self._add(fd, owners)
        finally:
            os.close(fd)

    def _add_owner(self, space: Namespace, owners: _Owners) -> None:
        """Raises: CannotTell where there is no way to the namespace; as `_add`."""
        # One after the other: the search is dear, and only for a namespace whose known processes have all ended.
        for pid in itertools.chain(space.pids, () if space.door else _newest_in(space.inode)):
            with contextlib.suppress(*_GONE):
                fd = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
                try:
                    if os.fstat(fd).st_ino == space.inode:
                        self._add(_owner(fd), owners)
                        return
                finally:
                    os.close(fd)  # an open one keeps the namespace
        if space.door is None:
            raise CannotTell("no process of it is left")
        with entries.opened_namespace(space.door, space.inode) as fd:
            self._add(_owner(fd), owners)

    def _add(self, fd: int, owners: _Owners) -> None:
        """A user namespace and those above it; `fd` is closed. Raises: as `_climbed`; NoAnswer; ValueError."""
        inodes, uids, outermost = self._climbed(fd)
        try:
            owners.inodes |= inodes
            owners.uids |= uids
            if (inode := os.fstat(outermost).st_ino) not in owners.maps:
                owners.maps[inode] = self._maps(inode, outermost)
        finally:
            os.close(outermost)

    def _climbed(self, fd: int) -> tuple[set[int], set[int], int]:
        """From a user namespace up to the one below the agent's own: inodes, who made them, and a descriptor of the
        last one; `fd` is closed. Raises: CannotTell where the first is the agent's own; OSError.
        """
        inodes, uids = set[int](), set[int]()
        try:
            while (inode := os.fstat(fd).st_ino) != self._own:
                inodes.add(inode)
                uids.add(syscalls.owner_uid(fd))
                parent = syscalls.parent_user_namespace(fd)
                if os.fstat(parent).st_ino == self._own:
                    os.close(parent)
                    return inodes, uids - {0}, fd  # root of the host may do all in any case
                os.close(fd)
                fd = parent
            raise CannotTell("it belongs to the host's own users")
        except BaseException:
            os.close(fd)
            raise

    def _maps(self, inode: int, fd: int) -> Identities:
        """What is mapped in a user namespace right below our own; by a child that enters it, if no process is in it."""
        for pid in self._census.within.get(inode, ()):
            with contextlib.suppress(*_GONE):
                found = _read_maps(f"/proc/{pid}")
                if processes.link_inode(pid, "user") == inode:
                    return found
        return child.ask(lambda: _maps_inside(fd), deadline=DEADLINE, what=f"the child in user namespace {inode}")


def _newest_in(inode: int) -> Iterator[int]:
    """Processes that are in a mount namespace at this moment: it may have no other than ones that fork and end."""
    for _ in range(_TRIES):
        for pid in reversed(processes.pids()):
            with contextlib.suppress(OSError):
                if processes.link_inode(pid, "mnt") == inode:
                    yield pid
                    break


def _owner(mount_namespace: int) -> int:
    """A descriptor of the user namespace that owns a mount namespace. Raises: CannotTell; OSError."""
    try:
        return syscalls.user_namespace_of(mount_namespace)
    except PermissionError as error:
        raise CannotTell("it belongs to users above the agent's own") from error


def _maps_inside(user_namespace: int) -> Identities:
    """In a child, which enters it: seen from inside, a map is that of the parent (user_namespaces(7))."""
    syscalls.setns(user_namespace, abi.CLONE_NEWUSER)
    return _read_maps("/proc/self")


def _entrant(pid: int) -> _Entrant | None:
    """None where it has ended. Raises: OSError where it may not be read."""
    try:
        inode, status = processes.link_inode(pid, "user"), processes.read(f"/proc/{pid}/status")
    except _GONE:
        return None
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):  # a process that may not be read at all is a gap of the scan
            return None
        raise
    lines = dict(line.partition(b":")[::2] for line in status.splitlines())
    uids, gids = ([int(word) for word in lines[name].split()] for name in (b"Uid", b"Gid"))
    groups = [int(word) for word in lines.get(b"Groups", b"").split()]
    return _Entrant(inode, uids[1], Identities(_each(uids), _each(gids + groups)))


def _each(ids: Iterable[int]) -> tuple[range, ...]:
    return tuple(range(one, one + 1) for one in sorted(set(ids)))


def _read_maps(process: str) -> Identities:
    """What is mapped in the user namespace of a process, by its directory in /proc. Raises: OSError; ValueError."""
    texts = []
    for name in ("uid_map", "gid_map"):
        texts.append(processes.read(f"{process}/{name}"))
    return Identities(*map(_ranges, texts))


def _ranges(text: bytes) -> tuple[range, ...]:
    """Of each line `ID-inside ID-outside length` the ids outside."""
    lines = [[int(word) for word in line.split()] for line in text.splitlines()]
    return tuple(range(outside, outside + length) for _inside, outside, length in lines)
