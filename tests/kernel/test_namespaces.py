"""Which namespaces there are, and reading each of them once, against findmnt(8) and against what dies or hides."""

import contextlib
import errno
import json
import os
import subprocess
import threading
from collections import deque
from collections.abc import Iterator

import pytest
from mountwarden.kernel import abi, syscalls
from mountwarden.mounts.table import Table
from mountwarden.observe import namespaces, processes
from mountwarden.observe.mount_lines import OpenMountinfo, ReadingLimits

from tests.support import mountinfo
from tests.support.scratch_ns import Namespace, Sandbox, hold, in_child, overlay
from tests.support.wait import wait_until

COLUMNS = "ID,PARENT,MAJ:MIN,FSROOT,TARGET,VFS-OPTIONS,FSTYPE,SOURCE,FS-OPTIONS,PROPAGATION"


def findmnt(pid: int) -> list[dict[str, str]]:
    """findmnt's whole table of a process's namespace, as a list."""
    command = ["findmnt", "--task", str(pid), "--json", "--list", "--output", COLUMNS, "--nofsroot"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["filesystems"]


def populate(number: int) -> None:
    """Odd mounts, different in each namespace."""
    for index in range(number % 7 + 3):
        path = f"/mnt/n{number}-{index} with space\\and\tmore".encode()
        os.mkdir(path)
        syscalls.mount(b"src#%d" % index, path, b"tmpfs", abi.MS_NOSUID, b"size=%dk" % (64 + index))
        if index % 3 == 1:
            syscalls.mount(None, path, None, abi.MS_SHARED)
        elif index % 3 == 2:
            syscalls.mount(path, path, None, abi.MS_BIND)
    if number % 5 == 0:
        overlay(b"/mnt/layer")


def test_the_table_of_50_live_namespaces_equals_findmnt_s() -> None:
    with contextlib.ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox())
        held: list[Namespace] = []
        for number in range(50):
            propagation = ("private", "slave", "shared")[number % 3]
            space = stack.enter_context(hold(sandbox, propagation=propagation, userns=number % 10 == 9))
            space.run(populate, number)
            held.append(space)
        found = namespaces.members(processes.pids(), threads=True).by_inode
        assert {space.inode for space in held} <= found.keys()
        for space in held:
            text = mountinfo.whole(space.inode, found[space.inode])
            assert text is not None
            table = Table.from_text(text)
            assert not table.unreadable
            assert_equal(table, findmnt(space.pid))


def assert_equal(table: Table, rows: list[dict[str, str]]) -> None:
    assert [mount.id for mount in table.mounts] == [row["id"] for row in rows]
    for mount, row in zip(table.mounts, rows, strict=True):
        assert mount.parent == row["parent"]
        assert mount.device == row["maj:min"].strip()
        assert mount.root == os.fsencode(row["fsroot"])
        assert mount.point == os.fsencode(row["target"])
        assert mount.options.decode() == row["vfs-options"]
        assert mount.fstype == row["fstype"]
        assert mount.source.decode() == row["source"]
        assert mount.super_options.decode() == row["fs-options"]
        words = set(row["propagation"].split(","))
        assert bool(mount.shared) == ("shared" in words)
        assert bool(mount.master) == ("slave" in words)
        assert mount.unbindable == ("unbindable" in words)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as made:
        yield made


def test_a_namespace_whose_only_process_is_chrooted_is_read_whole(sandbox: Sandbox) -> None:
    sandbox.run(lambda: os.mkdir("/mnt/jail"))
    with hold(sandbox, chroot=b"/mnt/jail") as jailed:
        seen = processes.read(f"/proc/{jailed.pid}/mountinfo")
        whole = mountinfo.whole(jailed.inode, [jailed.pid])
        assert whole is not None
        assert len(seen.splitlines()) < len(whole.splitlines())
        # The same mounts as in the namespace that it is a copy of.
        assert len(whole.splitlines()) == len(sandbox.mountinfo().splitlines())


def test_a_process_whose_root_was_detached_is_no_reader(sandbox: Sandbox) -> None:
    """Its root link reads "/", and its mountinfo is empty: the namespace would look as if it had no mounts."""
    sandbox.run(lambda: os.mkdir("/mnt/jail"))
    sandbox.run(lambda: syscalls.mount(b"tmpfs", b"/mnt/jail", b"tmpfs"))
    with hold(sandbox, chroot=b"/mnt/jail") as jailed:
        jailed.run(lambda: syscalls.umount(b"/mnt/jail", abi.MNT_DETACH))
        assert os.readlink(f"/proc/{jailed.pid}/root") == "/"
        assert processes.read(f"/proc/{jailed.pid}/mountinfo") == b""
        whole = mountinfo.whole(jailed.inode, [jailed.pid])
        assert whole is not None
        assert len(whole.splitlines()) > 5


def test_a_process_that_has_ended_costs_only_itself(sandbox: Sandbox) -> None:
    with hold(sandbox) as first, hold(first, propagation=None) as second:
        ended = in_child(os.getpid)
        found = namespaces.members([ended, first.pid, second.pid], threads=True)
        assert set(found.by_inode) == {first.inode, second.inode}
        assert found.gaps == ()
        assert mountinfo.whole(first.inode, [ended, first.pid]) == first.mountinfo()
        assert mountinfo.whole(first.inode, [ended]) is None


def test_a_process_that_moved_on_is_not_taken_for_its_old_namespace(sandbox: Sandbox) -> None:
    with hold(sandbox) as held:
        assert mountinfo.whole(sandbox.inode, [held.pid]) is None


def test_a_zombie_is_no_reader(sandbox: Sandbox) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    try:
        wait_until(lambda: b"\nState:\tZ" in processes.read(f"/proc/{pid}/status"), 30, "it is a zombie")
        assert namespaces.members([pid], threads=True).by_inode == {}
        assert mountinfo.whole(1, [pid]) is None
    finally:
        os.waitpid(pid, 0)


def test_a_thread_with_a_namespace_of_its_own_is_found() -> None:
    def in_a_process() -> tuple[bool, bool]:
        inodes: list[int] = []
        ready, done = threading.Event(), threading.Event()

        def leave() -> None:
            syscalls.unshare(abi.CLONE_NEWNS)
            inodes.append(processes.link_inode(threading.get_native_id(), "mnt"))
            ready.set()
            done.wait(10)

        thread = threading.Thread(target=leave)
        thread.start()
        ready.wait(10)
        with_threads = namespaces.members([os.getpid()], threads=True).by_inode
        without = namespaces.members([os.getpid()], threads=False).by_inode
        done.set()
        thread.join()
        return inodes[0] in with_threads, inodes[0] in without

    assert in_child(in_a_process) == (True, False)


def test_a_text_without_end_is_given_up() -> None:
    """As that of a namespace in which mounts are made as fast as it is read, which kept a command for minutes."""
    read_end, write_end = os.pipe()
    with subprocess.Popen(["yes", "line"], stdout=write_end, stderr=subprocess.DEVNULL):
        os.close(write_end)
        try:
            with pytest.raises(OSError, match=os.strerror(errno.ETIME)):
                deque(OpenMountinfo(lambda: read_end, ReadingLimits(size=1 << 40, seconds=0.05)).blocks(), 0)
        finally:
            os.close(read_end)
