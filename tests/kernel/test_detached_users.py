"""Who holds a mount that is gone: small mount ids are given to new mounts at once."""

import os
import signal
from pathlib import Path

import pytest
from mountwarden.kernel import syscalls
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
