"""Who is in a mount namespace, asked of real processes."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from mountwarden.explain import holders
from mountwarden.model import Namespace, NamespaceKind
from mountwarden.observe import processes

from tests.support.scratch_ns import hold
from tests.support.wait import wait_until


@contextmanager
def process(*command: str) -> Iterator[tuple[int, int]]:
    """(pid, mount namespace) of a program that prints a line when it is ready, and waits for the end of its input."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin
        assert child.stdout
        pid = int(child.stdout.readline())
        yield pid, os.stat(f"/proc/{pid}/ns/mnt").st_ino
        child.stdin.close()


def in_namespace(pid: int) -> Namespace:
    return Namespace(os.stat(f"/proc/{pid}/ns/mnt").st_ino, (pid,))


def test_a_process_with_its_name_and_user() -> None:
    with process(
        "unshare", "-m", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", "echo $$; read x"
    ) as (
        pid,
        inode,
    ):
        members = holders.members(Namespace(inode, (pid,)))
    assert [(h.pid, h.comm, h.user, h.container) for h in members.holders] == [(pid, "sh", 65534, None)]
    assert members.kind is NamespaceKind.PROCESS
    assert (members.more, members.gaps) == (0, ())


def test_the_real_user_counts_not_the_effective_one() -> None:
    code = "import os; os.setresuid(1234, 0, 0); print(os.getpid(), flush=True); input()"
    with process("unshare", "-m", "/usr/bin/python3", "-c", f"try:\n {code}\nexcept EOFError: pass") as (pid, inode):
        assert [h.user for h in holders.members(Namespace(inode, (pid,))).holders] == [1234]


def test_a_hostile_name_stays_data() -> None:
    code = (
        'open("/proc/self/comm", "wb").write(b"a\\nb\\x1b[2J\\xff"); import os; print(os.getpid(), flush=True); input()'
    )
    with process("unshare", "-m", "/usr/bin/python3", "-c", f"try:\n {code}\nexcept EOFError: pass") as (pid, inode):
        assert [h.comm for h in holders.members(Namespace(inode, (pid,))).holders] == ["a\nb\x1b[2J\udcff"]


def test_lowest_pid_first_and_a_process_that_ended_costs_only_itself() -> None:
    with hold() as first, hold(within=first, propagation=None) as gone:
        ended = gone.pid
        gone.kill()
        members = holders.members(Namespace(first.inode, (ended, first.pid)))
        assert [h.pid for h in members.holders] == [first.pid]
        assert members.gaps == ()


def test_a_process_that_has_left_is_no_holder() -> None:
    with hold() as one, hold() as other:
        assert [h.pid for h in holders.members(Namespace(one.inode, (one.pid, other.pid))).holders] == [one.pid]


def test_a_zombie_is_no_holder() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    try:
        wait_until(lambda: b"\nState:\tZ" in processes.read(f"/proc/{pid}/status"))
        members = holders.members(Namespace(os.stat("/proc/self/ns/mnt").st_ino, (pid,)))
    finally:
        os.waitpid(pid, 0)
    assert members.holders == ()
    assert members.gaps == ()


def test_at_most_64_are_read_and_the_rest_counted() -> None:
    with hold() as space:
        members = holders.members(Namespace(space.inode, (space.pid,) * 70))
    assert (len(members.holders), members.more) == (64, 6)


def test_no_process_at_all() -> None:
    assert holders.members(Namespace(1)).kind is NamespaceKind.BARE


def test_a_user_namespace_outside_any_service_is_a_container() -> None:
    with hold(userns=True) as space:
        assert holders.members(in_namespace(space.pid)).kind is NamespaceKind.CONTAINER


def test_a_pid_namespace_is_a_container() -> None:
    with process("unshare", "-mpf", "sh", "-c", "read pid rest </proc/self/stat; echo $pid; read x") as (pid, inode):
        assert holders.members(Namespace(inode, (pid,))).kind is NamespaceKind.CONTAINER


def test_one_process_by_its_pid() -> None:
    found = holders.holder(os.getpid())
    assert found
    assert (found.pid, found.user) == (os.getpid(), os.getuid())


def test_one_process_that_ended() -> None:
    with hold() as space:
        pid = space.pid
        space.kill()
        assert holders.holder(pid) is None
