"""The one child that enters foreign mount namespaces: what it opens, what it refuses, and what it never keeps."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator

import pytest
from mountwarden.errors import NoAnswer
from mountwarden.kernel import abi, child, syscalls
from mountwarden.kernel.kept_worker import LEFT_BEHIND
from mountwarden.kernel.worker import Worker
from mountwarden.model import Door
from mountwarden.observe import entries, ids, processes
from mountwarden.observe.enter import own_namespace
from mountwarden.service import loop

from tests.kernel.test_processless import BIND, bound, may_walk
from tests.kernel.topology import Home
from tests.support.scratch_ns import Namespace, Sandbox, hold, in_child
from tests.support.wait import wait_until

Way = int | Door


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as made:
        yield made


def text(way: Way, inode: int) -> bytes:
    with entries.opened_mountinfo(way, inode) as fd, open(fd, "rb", closefd=False) as file:
        return file.read()


def worker() -> Worker:
    current = entries._entries._kept.current()
    assert current is not None
    return current


def stopped() -> int:
    """The child, which has served all that it was asked for and now answers nothing; its pid."""
    assert worker().settle(deadline=5)
    os.kill(worker().pid, signal.SIGSTOP)
    return worker().pid


def ended(pid: int) -> bool:
    """Whether there is no such process, or nobody has reaped it yet."""
    return b"\nState:\tZ" in processes.read_or_empty(f"/proc/{pid}/status") or not os.path.exists(f"/proc/{pid}")


def is_quiet() -> bool:
    """Whether the child has nothing of others: its streams, socket, /proc, root, directory and own namespace alone."""
    return len(os.listdir(f"/proc/{worker().pid}/fd")) == 8


def descriptor(space: Namespace) -> int:
    return os.open(f"/proc/{space.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)


def by(fd: int) -> Door:
    return Door("fd", os.getpid(), b"/proc/%d/fd/%d" % (os.getpid(), fd))


def lives(identity: int | None) -> bool:
    if identity is None:
        pytest.skip("no ids of mount namespaces here (before Linux 6.11)")
    return ids.exists(identity)


def identity(space: Namespace) -> int | None:
    with contextlib.suppress(OSError), entries.opened_namespace(space.pid, space.inode) as fd:
        return syscalls.mnt_ns_id(fd)
    return None


def test_a_chrooted_process_s_namespace_is_seen_from_its_own_root(sandbox: Sandbox) -> None:
    sandbox.run(lambda: os.mkdir("/mnt/jail"))
    with hold(sandbox, chroot=b"/mnt/jail") as jailed, hold(jailed, propagation=None) as free:
        seen = text(jailed.pid, jailed.inode)
        assert len(seen.splitlines()) == len(free.mountinfo().splitlines()) > len(jailed.mountinfo().splitlines())


def test_by_a_descriptor_and_by_the_walk(sandbox: Sandbox) -> None:
    with hold(sandbox) as held:
        inode, wanted, fd = held.inode, held.mountinfo(), descriptor(held)
    assert text(by(fd), inode) == wanted
    if may_walk():
        assert inode in entries.walk()
        assert text(Door("walk"), inode) == wanted
    entries.close_in_child(fd)
    if may_walk():
        wait_until(lambda: inode not in entries.walk(), 10, "it ended, and no other has its number any more")


def test_one_walk_opens_what_is_expected_next(sandbox: Sandbox) -> None:
    if not may_walk():
        pytest.skip("the walk is refused here")
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(hold(sandbox)) for _ in range(5)]
        texts = {space.inode: space.mountinfo() for space in held}
        order = [inode for inode in entries.walk() if inode in texts]
        entries.expect(order)
        names = [text(Door("walk"), inode) for inode in order[:2]]
        assert names == [texts[inode] for inode in order[:2]]
        opened = sum(link(fd).startswith("mnt:") for fd in os.listdir(f"/proc/{worker().pid}/fd"))
        assert opened == 1 + 5  # its own, and those that were asked for first and next
        entries.let_go()
        wait_until(is_quiet, 5, "it has let go of all")


def link(fd: str) -> str:
    with contextlib.suppress(FileNotFoundError):
        return os.readlink(f"/proc/{worker().pid}/fd/{fd}")
    return ""


def test_by_a_bind_in_home_and_in_another_namespace(home: Home) -> None:
    with hold(home.sandbox, propagation="slave") as other:
        inode = bound(home, other)
        elsewhere = home.run(lambda: text(Door("bind", other.pid, BIND), inode))
        inside = other.run(lambda: text(Door("bind", 0, BIND), inode))
        assert b" /mnt " in elsewhere
        assert elsewhere == inside


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.mknod(path, 0o20600, os.makedev(1, 3)), os.mkdir])
def test_what_is_no_nsfs_file_is_not_opened(sandbox: Sandbox, make: Callable[[bytes], None]) -> None:
    """An open(2) of a FIFO waits for its other end, and that of a device may do anything."""

    def refused() -> bool:
        make(b"/mnt/at-the-door")
        inode = os.stat("/mnt/at-the-door").st_ino
        with pytest.raises(ProcessLookupError):
            entries.open_namespace(Door("bind", 0, b"/mnt/at-the-door"), inode, deadline=2)
        return True

    assert sandbox.run(refused)


def test_a_way_that_leads_elsewhere(sandbox: Sandbox) -> None:
    with hold(sandbox) as held:
        for wrong in (held.pid, by_other(held)):
            with pytest.raises(ProcessLookupError):
                entries.open_mountinfo(wrong, sandbox.inode)
    ended = in_child(os.getpid)
    with pytest.raises(FileNotFoundError):
        entries.open_mountinfo(ended, sandbox.inode)


def by_other(space: Namespace) -> Door:
    return Door("fd", space.pid, b"/proc/%d/ns/mnt" % space.pid)


def test_nothing_is_pinned_after_an_entry(sandbox: Sandbox) -> None:
    with hold(sandbox) as held:
        number = identity(held)
        assert text(held.pid, held.inode)
        assert lives(number)
    wait_until(lambda: not lives(number), 5, "the namespace has ended with its process")
    assert is_quiet()
    assert os.readlink(f"/proc/{worker().pid}/ns/mnt") == os.readlink("/proc/self/ns/mnt")


def test_the_last_close_is_the_child_s(sandbox: Sandbox) -> None:
    """It tears the mounts down, which may hang: the caller does not wait for it."""
    with contextlib.ExitStack() as stack:
        with hold(sandbox) as held:
            number = identity(held)
            fd = entries.open_mountinfo(held.pid, held.inode)
        stack.callback(os.kill, stopped(), signal.SIGCONT)
        os.close(fd)
        entries.let_go()
        assert lives(number)
    wait_until(lambda: not lives(number), 5, "the child has closed it")


def test_what_nobody_asks_for_again_is_let_go(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries.entry_server, "IDLE", 0.05)
    with hold(sandbox) as held:
        number = identity(held)
        os.close(entries.open_mountinfo(held.pid, held.inode))
    wait_until(lambda: not lives(number), 5, "the child let go by itself")


def test_a_child_that_hangs_is_replaced(sandbox: Sandbox) -> None:
    with hold(sandbox) as held:
        assert text(held.pid, held.inode)
        hung, began = stopped(), time.monotonic()
        with pytest.raises(NoAnswer, match="in time"):
            entries.open_mountinfo(held.pid, held.inode, deadline=0.2)
        assert time.monotonic() - began < 2
        assert not os.path.exists(f"/proc/{hung}")
        assert text(held.pid, held.inode) == held.mountinfo()
        assert worker().pid != hung


def test_one_that_hangs_in_closing_costs_others_nothing(sandbox: Sandbox) -> None:
    with hold(sandbox) as held:
        os.close(entries.open_mountinfo(held.pid, held.inode))
        hung = stopped()
        entries.let_go()
        assert text(held.pid, held.inode) == held.mountinfo()
        assert worker().pid != hung


def test_one_that_was_killed_is_replaced(sandbox: Sandbox) -> None:
    with hold(sandbox) as held:
        assert text(held.pid, held.inode)
        os.kill(worker().pid, signal.SIGKILL)
        assert text(held.pid, held.inode) == held.mountinfo()


def test_a_path_through_a_file_system_that_hangs(sandbox: Sandbox) -> None:
    def hung() -> bool:
        device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        os.mkdir("/mnt/fuse")
        syscalls.mount(b"x", b"/mnt/fuse", b"fuse", 0, b"fd=%d,rootmode=40000,user_id=0,group_id=0" % device)
        try:
            with pytest.raises(NoAnswer, match="in time"):
                entries.open_namespace(Door("bind", 0, b"/mnt/fuse/x"), 1, deadline=0.3)
            return len(text(os.getpid(), own_namespace())) > 0
        finally:
            syscalls.umount(b"/mnt/fuse", abi.MNT_DETACH)
            os.close(device)

    if not os.path.exists("/dev/fuse"):
        pytest.skip("no FUSE here")
    assert sandbox.run(hung)


def test_those_that_can_t_be_killed_are_few(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    left, kill = list[int](), os.kill

    def unkillable(pid: int, number: int) -> None:
        if number != signal.SIGKILL:
            kill(pid, number)

    monkeypatch.setattr(os, "kill", unkillable)
    monkeypatch.setattr(entries, "_END", 0.01)
    with hold(sandbox) as held:
        try:
            for _ in range(LEFT_BEHIND):
                assert text(held.pid, held.inode)
                left.append(stopped())
                with pytest.raises(NoAnswer, match="in time"):
                    entries.open_mountinfo(held.pid, held.inode, deadline=0.05)
            with pytest.raises(NoAnswer, match="can't be killed"):
                entries.open_mountinfo(held.pid, held.inode)
            assert entries.cpu_seconds() > 0
            kill(left[0], signal.SIGKILL)
            wait_until(lambda: child.reap_late() < len(left), 5, "one has ended")
            assert text(held.pid, held.inode)
        finally:
            monkeypatch.undo()
            for pid in left[1:]:
                os.kill(pid, signal.SIGKILL)
            wait_until(lambda: child.reap_late() == 0, 5, "all are reaped")


def test_a_forked_process_has_a_child_of_its_own(sandbox: Sandbox) -> None:
    assert text(sandbox.pid, sandbox.inode)
    ours = worker().pid

    def forked() -> int:
        assert text(sandbox.pid, sandbox.inode)
        return worker().pid

    theirs = child.ask(forked, deadline=5)
    assert theirs != ours
    assert text(sandbox.pid, sandbox.inode)
    assert worker().pid == ours
    wait_until(lambda: ended(theirs), 5, "it ended with its parent")


def test_a_process_that_went_to_another_namespace_gets_another_child(sandbox: Sandbox) -> None:
    def moved() -> tuple[str, str]:
        assert text(sandbox.pid, sandbox.inode)
        fd = descriptor(sandbox)
        syscalls.setns(fd, abi.CLONE_NEWNS)
        os.close(fd)
        assert text(sandbox.pid, sandbox.inode)
        return os.readlink(f"/proc/{worker().pid}/ns/mnt"), os.readlink("/proc/self/ns/mnt")

    theirs, own = child.ask(moved, deadline=5)
    assert theirs == own


def test_it_takes_nothing_of_its_parent_s_with_it(sandbox: Sandbox) -> None:
    """A pipe's end that it held would keep the reader of a command's output waiting."""
    ours, other = socket.socketpair()
    reader, writer = os.pipe()
    with ours, other:
        assert text(sandbox.pid, sandbox.inode)
        os.close(writer)
        assert os.read(reader, 1) == b""
        os.close(reader)
        assert {link(fd) for fd in ("0", "1", "2")} == {os.devnull}
        wait_until(is_quiet, 5, "it has nothing else")


def test_it_ends_with_its_parent_whatever_ends_that(sandbox: Sandbox) -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            text(sandbox.pid, sandbox.inode)
            os.write(writer, b"%d" % worker().pid)
            signal.pause()
        finally:
            os._exit(1)
    theirs = int(os.read(reader, 20))
    os.close(reader)
    os.close(writer)
    os.kill(theirs, signal.SIGTERM)  # as systemd does with all processes of a service: the parent decides
    assert not ended(theirs)
    os.kill(theirs, signal.SIGSTOP)  # it does not see that the socket ends
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    wait_until(lambda: ended(theirs), 5, "it ended with its parent")


def test_its_processor_time_is_counted(sandbox: Sandbox) -> None:
    assert entries.cpu_seconds() == 0
    began, own = loop._cpu(), time.process_time()
    for _ in range(200):
        assert text(sandbox.pid, sandbox.inode)
    child_s = loop._cpu() - began - (time.process_time() - own)
    assert 0.002 < child_s < 5
    assert abs(child_s - entries.cpu_seconds()) < 0.1
    entries.close()
    assert entries.cpu_seconds() == 0
    assert loop._cpu() - began >= child_s  # reaped, it is one of RUSAGE_CHILDREN
