"""Whose a mount namespace is: real namespaces of users, within each other, and of a container's control group."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from mountwarden.kernel import abi, syscalls
from mountwarden.model import HOST, UNKNOWN, Door, Owner
from mountwarden.observe import entries
from mountwarden.observe.owners import Owners

from tests.support import tenants
from tests.support.scratch_ns import hold

USER = Owner(tenants.UID)
CONTAINER = "4d" * 32


@pytest.fixture(autouse=True)
def _child() -> Iterator[None]:
    yield
    entries.close()


def owner(inode: int, *pids: int, door: Door | None = None) -> Owner:
    return Owners().of({inode: pids}, {} if door is None else {inode: door}, ())[inode]


def of_pid(pid: int) -> Owner:
    return owner(os.stat(f"/proc/{pid}/ns/mnt").st_ino, pid)


@contextlib.contextmanager
def running(*command: str, uid: int = 0) -> Iterator[int]:
    """The process that such a command leaves running, which says so by a line."""
    script = [*command, "sh", "-c", "echo ready $$; exec sleep 1000"]
    with subprocess.Popen(script, stdout=subprocess.PIPE, text=True, user=uid, group=uid, extra_groups=[]) as made:
        try:
            assert made.stdout
            assert made.stdout.readline().startswith("ready")
            yield made.pid
        finally:
            made.kill()


def test_the_hosts_own_is_the_hosts() -> None:
    assert of_pid(os.getpid()) == HOST
    with hold() as space:
        assert owner(space.inode, space.pid) == HOST


def test_what_a_user_makes_is_his() -> None:
    with tenants.tenant() as space:
        assert owner(space.inode, space.pid) == USER


def test_what_unshare_of_a_user_makes_is_his() -> None:
    with running("unshare", "-Urm", uid=tenants.UID) as pid:
        assert of_pid(pid) == USER


def test_what_root_makes_in_a_user_namespace_is_of_its_maker() -> None:
    """As PrivateUsers= and engines with user namespaces do: whose ids are mapped does not count."""
    with hold(userns=True) as space:
        assert owner(space.inode, space.pid) == HOST


@contextlib.contextmanager
def nested(inner_uid: int) -> Iterator[tuple[int, int]]:
    """A process of `UID` in a user namespace with subordinate ids, in which that inner uid made another one.

    Gives it, and whom the kernel names as the maker of the inner one.
    """
    ready, tell = os.pipe()
    go, let_go = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            syscalls.die_with_parent(signal.SIGKILL)
            os.setgroups([])
            os.setresgid(tenants.UID, tenants.UID, tenants.UID)
            os.setresuid(tenants.UID, tenants.UID, tenants.UID)
            syscalls.unshare(abi.CLONE_NEWUSER)
            os.write(tell, b"m")
            os.read(go, 1)
            os.setresgid(inner_uid, inner_uid, inner_uid)
            os.setresuid(inner_uid, inner_uid, inner_uid)
            syscalls.unshare(abi.CLONE_NEWUSER | abi.CLONE_NEWNS)
            os.write(tell, b"d")
            signal.pause()
        finally:
            os._exit(1)
    try:
        assert os.read(ready, 1) == b"m"
        for name in ("uid_map", "gid_map"):  # as newuidmap(1) and newgidmap(1) write them
            Path(f"/proc/{pid}/{name}").write_text(f"0 {tenants.UID} 1\n1 100000 65536\n")
        os.write(let_go, b"g")
        assert os.read(ready, 1) == b"d"
        fd = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY)
        maker = syscalls.owner_uid(fd)
        os.close(fd)
        yield pid, maker
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        for each in (ready, tell, go, let_go):
            os.close(each)


@pytest.mark.parametrize(("inner", "maker"), [(0, tenants.UID), (1, 100000), (65535, 165534)])
def test_what_subordinate_ids_make_within_is_of_the_user_who_has_them(inner: int, maker: int) -> None:
    """Else a user had as many accounts as /etc/subuid gives him ids."""
    with nested(inner) as (pid, named):
        assert named == maker
        assert of_pid(pid) == USER


def test_many_namespaces_within_each_other_are_of_the_outermost() -> None:
    with running("unshare", "-Urm", "unshare", "-Urm", "unshare", "-Urm", uid=tenants.UID) as pid:
        assert of_pid(pid) == USER


@contextlib.contextmanager
def in_cgroup(name: str, pid: int) -> Iterator[None]:
    """The process is in a control group of that name, in a hierarchy that this machine lets us change."""
    places = ("/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup")
    place = next((Path(one) for one in places if os.access(f"{one}/cgroup.procs", os.W_OK)), None)
    if place is None:
        pytest.skip("no control group can be made here")
    made = place / name
    made.mkdir()
    try:
        (made / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        (place / "cgroup.procs").write_text(str(pid))
        made.rmdir()


@pytest.mark.parametrize("name", [f"docker-{CONTAINER}.scope", f"libpod-{CONTAINER}.scope", CONTAINER])
def test_what_a_container_of_root_is_in_is_the_containers(name: str) -> None:
    for userns in (False, True):
        with hold(userns=userns) as space, in_cgroup(name, space.pid):
            assert owner(space.inode, space.pid) == Owner(0, CONTAINER)


def test_a_users_is_his_whatever_control_group_he_names() -> None:
    """A container without root's rights is a user's; he may name his control groups as he likes."""
    with tenants.tenant() as space, in_cgroup(f"docker-{CONTAINER}.scope", space.pid):
        assert owner(space.inode, space.pid) == USER


@pytest.mark.parametrize("is_users", [False, True])
def test_one_without_a_process_is_asked_for_by_its_door(*, is_users: bool) -> None:
    with contextlib.ExitStack() as stack:
        with tenants.tenant() if is_users else hold() as space:
            inode, pid = space.inode, space.pid
            fd = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY)
            stack.callback(os.close, fd)
        door = Door("fd", os.getpid(), b"/proc/%d/fd/%d" % (os.getpid(), fd))
        assert owner(inode, pid, door=door) == (USER if is_users else HOST)
        assert owner(inode, pid) == UNKNOWN, "its process has ended"
        assert owner(inode + 1, pid, door=door) == UNKNOWN, "the door leads elsewhere"


def test_what_is_known_is_kept_until_the_inode_is_another_ones() -> None:
    owners = Owners()
    with hold() as mine, tenants.tenant() as theirs:
        assert owners.of({7: (), mine.inode: (mine.pid,)}, {}, ()) == {7: UNKNOWN, mine.inode: HOST}
        members = {mine.inode: (1, theirs.pid)}
        assert owners.of(members, {}, ()) == {mine.inode: HOST}
        assert owners.of(members, {}, members) == {mine.inode: UNKNOWN}, "a process that is elsewhere tells nothing"
        assert owners.of({theirs.inode: (mine.pid, theirs.pid)}, {}, ()) == {theirs.inode: USER}
