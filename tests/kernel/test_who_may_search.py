"""The rule on who may search a directory against the kernel itself: some thousand cases in real user namespaces."""

import contextlib
import errno
import itertools
import os
import pickle
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from mountwarden.kernel import abi, syscalls
from mountwarden.model import Directory, Door, Identities, Namespace
from mountwarden.observe import processes
from mountwarden.observe.entrants import CannotTell, Entrants

from tests.kernel import crash
from tests.support import tenants
from tests.support.scratch_ns import Sandbox, in_child

BASE = "/mnt/tried"
MODES = (0o000, 0o700, 0o710, 0o701, 0o711, 0o750, 0o755, 0o770, 0o070, 0o010, 0o001, 0o600, 0o2710, 0o1770)
UIDS = (0, 1000, 3000, 100_007, 65_534)
GIDS = (0, 1000, 998, 100_007)
ACL_VERSION, USER_OBJ, USER, GROUP_OBJ, MASK, OTHER = 2, 0x01, 0x02, 0x04, 0x10, 0x20


@dataclass(frozen=True)
class User:
    """Who makes a user namespace, and what is mapped in it; None: nothing. Several maps: one within the other."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    uid_maps: tuple[str | None, ...]
    gid_maps: tuple[str | None, ...]


USERS = {
    "an ordinary user": User(1000, 1000, (), ("0 1000 1",), ("0 1000 1",)),
    "one that maps nothing": User(1000, 1000, (), (None,), (None,)),
    "one in a group that is not mapped": User(1000, 1000, (998,), ("0 1000 1",), ("0 1000 1",)),
    "one in root's group": User(1000, 0, (), ("0 1000 1",), (None,)),
    "one that shows itself as another": User(1000, 1000, (), ("3000 1000 1",), ("998 1000 1",)),
    "rootless": User(1000, 1000, (), ("0 1000 1\n1 100000 65536",), ("0 1000 1\n1 100000 65536",)),
    "remapped": User(0, 0, (), ("0 100000 65536",), ("0 100000 65536",)),
    "remapped, with a group of the host": User(0, 0, (998,), ("0 100000 65536",), ("0 100000 65536",)),
    "the host's ids": User(0, 0, (), ("0 0 65536",), ("0 0 65536",)),
    "uids alone": User(0, 0, (), ("0 3000 10",), (None,)),
    "one in another": User(
        1000, 1000, (998,), ("0 1000 1\n1 100000 100", "7 0 1"), ("0 1000 1\n1 100000 100", "7 0 1")
    ),
    "one in another that maps nothing": User(1000, 1000, (), ("0 1000 1\n1 100000 100", None), ("0 1000 1", None)),
}


def acl(mode: int, uid: int) -> bytes:
    """The mode as a POSIX ACL, and one user more who may search."""
    bits = [(USER_OBJ, mode >> 6 & 7), (USER, 1, uid), (GROUP_OBJ, mode >> 3 & 7), (MASK, 7), (OTHER, mode & 7)]
    entries = [(tag, rest[0], rest[1] if len(rest) > 1 else 0xFFFFFFFF) for tag, *rest in bits]
    return struct.pack("<I", ACL_VERSION) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def make() -> list[Directory]:
    """A directory for each case, `BASE`/number, which has a directory `x`."""
    os.makedirs(BASE)
    os.chmod(BASE, 0o755)
    made = []
    cases: list[tuple[int, int, int, int | None]] = [(*case, None) for case in itertools.product(MODES, UIDS, GIDS)]
    cases += [(mode, 0, 0, uid) for mode in (0o700, 0o710) for uid in (1000, 100_007, 4242)]
    for number, (mode, uid, gid, allowed) in enumerate(cases):
        path = f"{BASE}/{number}"
        os.makedirs(f"{path}/x")
        if allowed is not None:
            try:
                os.setxattr(path, "system.posix_acl_access", acl(mode, allowed))
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP:
                    raise
                continue
        os.chown(path, uid, gid)
        os.chmod(path, mode)
        made.append(Directory(os.stat(path).st_mode & 0o7777, uid, gid, allowed is not None))
    return made


def reached(number: int) -> bool:
    """Whether the caller gets to what is in that directory, in each way that it has."""
    path = f"{BASE}/{number}"
    with contextlib.suppress(OSError):
        os.chmod(path, 0o777)
    for way in (
        lambda: os.open(f"{path}/x", os.O_PATH),
        lambda: syscalls.open_tree(abi.AT_FDCWD, f"{path}/x".encode(), 1),
    ):
        with contextlib.suppress(OSError):
            os.close(way())
            return True
    with contextlib.suppress(OSError):
        os.chdir(path)
        os.stat("x")
        return True
    return False


def tried(count: int) -> set[int]:
    """Directories that the caller, who has all rights of its user namespace, reaches as it is or as anybody mapped."""
    found = {number for number in range(count) if reached(number)}
    for uid, gid in itertools.product(mapped("uid_map"), mapped("gid_map")):

        def turned(uid: int = uid, gid: int = gid) -> set[int]:
            with contextlib.suppress(OSError):
                os.setgroups([gid])  # denied where an ordinary user has mapped its own
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            return {number for number in range(count) if reached(number)}

        found |= in_child(turned)
    return found


def mapped(name: str) -> list[int]:
    """The first id of each range, and the ones that a directory has, as they are called inside."""
    ranges = [[int(word) for word in line.split()] for line in processes.read(f"/proc/self/{name}").splitlines()]
    return sorted({inside + offset for inside, _outside, length in ranges for offset in (0, 7) if offset < length})


@contextlib.contextmanager
def living(user: User, count: int) -> Iterator[tuple[int, Callable[[], set[int]]]]:
    """A process in a mount namespace of that user's, and what makes it try all directories: those that it reached."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            _live(user, count, theirs)
        finally:
            os._exit(0)
    theirs.close()
    try:
        for uid_map, gid_map in zip(user.uid_maps, user.gid_maps, strict=True):
            assert ours.recv(1)
            in_child(lambda texts=(uid_map, gid_map): _map(pid, *texts))  # type: ignore[misc]
            ours.send(b".")
        assert ours.recv(1)
        yield pid, lambda: (ours.send(b"."), pickle.loads(b"".join(iter(lambda: ours.recv(1 << 16), b""))))[1]
    finally:
        ours.close()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _map(pid: int, uid_map: str | None, gid_map: str | None) -> None:
    """By a process in the parent of the user namespace: nobody else may."""
    fd = syscalls.parent_user_namespace(os.open(f"/proc/{pid}/ns/user", os.O_RDONLY))
    if os.fstat(fd).st_ino != os.stat("/proc/self/ns/user").st_ino:
        syscalls.setns(fd, abi.CLONE_NEWUSER)
    for name, text in (("uid_map", uid_map), ("gid_map", gid_map)):
        if text:
            with open(f"/proc/{pid}/{name}", "w") as file:
                file.write(text)


def _live(user: User, count: int, parent: socket.socket) -> None:
    os.setgroups(user.groups)
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)
    for _ in user.uid_maps:
        syscalls.unshare(abi.CLONE_NEWUSER)
        parent.send(b".")
        parent.recv(1)
    syscalls.unshare(abi.CLONE_NEWNS)
    syscalls.die_with_parent(signal.SIGKILL)
    parent.send(b".")
    parent.recv(1)
    parent.sendall(pickle.dumps(tried(count)))


def compared(user: User) -> tuple[list[Directory], set[int], set[int]]:
    """The directories, which of them the rule says that the user may search, and which the kernel lets it."""
    made = make()
    with living(user, len(made)) as (pid, reached_all):
        ids = Entrants().of(Namespace(processes.link_inode(pid, "mnt"), (pid,)))
        allowed = {number for number, directory in enumerate(made) if ids.may_search(directory)}
        return made, allowed, reached_all()


@pytest.mark.parametrize("user", USERS.values(), ids=USERS.keys())
def test_where_the_rule_says_that_nobody_can_the_kernel_refuses_everybody(user: User) -> None:
    with Sandbox() as sandbox:
        made, allowed, reached = sandbox.run(compared, user, timeout=60)
    assert not {number: made[number] for number in reached - allowed}
    careful = {n for n in allowed - reached if not made[n].acl and not made[n].mode & 0o001}
    assert len(user.uid_maps) > 1 or len(careful) <= len(made) // 20, "it is hardly ever more careful than the kernel"
    assert reached, "something is tried that works"


def test_a_process_of_the_hosts_own_users_may_be_root() -> None:
    def of_host() -> str:
        with pytest.raises(CannotTell) as error:
            Entrants().of(Namespace(processes.link_inode(os.getpid(), "mnt"), (os.getpid(),)))
        return str(error.value)

    with Sandbox() as sandbox:
        assert "the host's own users" in sandbox.run(of_host)


def restless(tell: int) -> None:
    """In a tenant's namespaces: a process that forks each millisecond and ends, so that none is there for long."""
    inode = os.stat("/proc/self/ns/mnt").st_ino
    if os.fork():
        syscalls.unshare(abi.CLONE_NEWNS)
        os.write(tell, b"%d" % inode)
        return
    while True:
        if os.fork():
            os._exit(0)
        time.sleep(0.001)


def test_a_namespace_whose_processes_fork_and_end_each_millisecond_is_known_all_the_same() -> None:
    def run(_sandbox: Sandbox) -> bool:
        read_end, write_end = os.pipe()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the first process of a pid namespace is whom they are left to
        with tenants.tenant(lambda: restless(write_end)):
            inode = int(os.read(read_end, 20))
            ids = Entrants().of(Namespace(inode, (1 << 22,)))
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return ids == Identities((range(tenants.UID, tenants.UID + 1),), (range(tenants.UID, tenants.UID + 1),))

    assert crash.in_few_processes(run, 30)


def test_a_namespace_without_a_process_is_known_by_the_descriptor_that_keeps_it() -> None:
    def run(_sandbox: Sandbox) -> Identities:
        with tenants.tenant() as space:
            fd, inode = os.open(f"/proc/{space.pid}/ns/mnt", os.O_RDONLY), space.inode
            space.kill()
        door = Door("fd", os.getpid(), b"/proc/%d/fd/%d" % (os.getpid(), fd))
        return Entrants().of(Namespace(inode, (), door=door))

    own = (range(tenants.UID, tenants.UID + 1),)
    assert crash.in_few_processes(run, 30) == Identities(own, own)
