"""Who holds a mount that is gone: small mount ids are given to new mounts at once."""

import os
import signal
from pathlib import Path

import pytest
from mountwarden.kernel import abi, syscalls
from mountwarden.model import Namespace
from mountwarden.observe import directory_users
from mountwarden.observe.detached_users import DetachedUsers
from mountwarden.observe.enter import own_namespace

from tests.kernel import crash
from tests.support.scratch_ns import Sandbox


def test_an_id_that_a_new_mount_has_is_held_by_nobody() -> None:
    """This process's own root stands for the new mount that was given the id of one that went."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    reused = frozenset({int(next(line for line in lines if line.split()[4] == "/").split()[0])})
    proc = directory_users.open_proc()
    try:
        assert directory_users.users_by_mount(proc, reused), "the new mount has users"
    finally:
        os.close(proc)
    known, free = DetachedUsers().users([reused], [Namespace(own_namespace(), (os.getpid(),))])
    assert known == {reused: ()}
    assert free == {reused}


def test_a_process_that_ends_during_the_search_costs_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is killed, and collected, when its directory of descriptors is open and not yet read."""
    listdir = os.listdir

    def run(_sandbox: Sandbox) -> list[str]:
        if (short := os.fork()) == 0:
            signal.pause()

        def ending(fd: int) -> list[str]:
            if os.readlink(f"/proc/self/fd/{fd}") == f"/proc/{short}/fd":
                os.kill(short, signal.SIGKILL)
                os.waitpid(short, 0)
            return listdir(fd)

        monkeypatch.setattr(os, "listdir", ending)
        proc = directory_users.open_proc()
        try:
            found = directory_users.users_by_mount(proc, frozenset({syscalls.mount_id(proc, b".")}))
        finally:
            os.close(proc)
        assert not os.path.exists(f"/proc/{short}")
        return [use.how for many in found.values() for use in many if use.pid == os.getpid()]

    assert crash.in_few_processes(run, 20), "the descriptor of /proc itself, found behind the process that ended"


def test_who_was_found_is_asked_again_and_where_none_is_left_all_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report of ten seconds ago is wrong once the unit has stopped."""
    searches = []
    search = directory_users.users_by_mount
    monkeypatch.setattr(
        directory_users, "users_by_mount", lambda *given: (searches.append(len(given) == 2), search(*given))[1]
    )

    def run(sandbox: Sandbox) -> None:
        syscalls.mount(b"kept", b"/mnt", b"tmpfs", 0, b"")
        read, write = os.pipe()
        if (first := os.fork()) == 0:
            os.chdir("/mnt")
            if os.fork() == 0:
                signal.pause()
            os.write(write, b"x")
            signal.pause()
        os.read(read, 1)
        mount = frozenset({syscalls.mount_id(abi.AT_FDCWD, b"/mnt")})
        syscalls.umount(b"/mnt", abi.MNT_DETACH)
        users = DetachedUsers()
        spaces = [Namespace(own_namespace(), (os.getpid(),))]
        found, _free = users.users([mount], spaces)
        pids = sorted({use.pid for use in found[mount]})
        assert pids[0] == first
        assert len(pids) == 2
        os.kill(first, signal.SIGKILL)
        os.waitpid(first, 0)
        found, free = users.users([mount], spaces)
        assert [use.pid for use in found[mount]] == pids[1:]
        os.kill(pids[1], signal.SIGKILL)
        while os.path.exists(f"/proc/{pids[1]}/cwd"):
            pass
        found, free = users.users([mount], spaces)
        assert (found, free) == ({mount: ()}, {mount})
        assert searches == [True, False, False, True], "all, those that were found, these again, and all"

    crash.in_few_processes(run, 30)
