"""SIGKILL at each system call of an act: the host is unharmed, and the next start removes what was left."""

import os
import stat
from collections.abc import Callable

import pytest
from mountwarden.kernel import abi, calls
from mountwarden.model import Action
from mountwarden.remedies import apply, replace

from tests.kernel import crash
from tests.kernel.crash import CHANGING, MERGED, ROOT
from tests.kernel.topology import Home
from tests.support.scratch_ns import Sandbox, hold, overlay

NAMES = [b"lower", b"merged", b"upper", b"work"]

pytestmark = pytest.mark.skipif(not crash.STRACE, reason="strace is not installed")


def detach(number: int, syscalls: str) -> int:
    crash.layer()
    with hold() as holder:
        calls.umount(MERGED)
        made = crash.killed_at(crash.act(Action.DETACH, "leaked", holder.inode), number, syscalls)
        assert crash.dressed(), f"killed at call {number}"
        others = set(os.listdir(ROOT + b"/X")) - set(NAMES)
        assert len(others) <= 1
        assert all(name.startswith(replace.PREFIX) for name in others)
        removed = apply.remove_leftovers(crash.looker())
        assert {os.path.basename(path) for path in removed} == others
        assert sorted(os.listdir(ROOT + b"/X")) == NAMES
        assert number or not holder.is_mounted(MERGED)
    return made


def unmount(number: int, syscalls: str) -> int:
    crash.layer()
    with hold() as holder:
        calls.umount(MERGED)
        made = crash.killed_at(crash.act(Action.UNMOUNT, "leaked", holder.inode), number, syscalls)
        assert crash.dressed()
        assert sorted(os.listdir(ROOT + b"/X")) == NAMES
        assert number or not holder.is_mounted(MERGED)
    return made


def share(number: int, syscalls: str) -> int:
    calls.mount(None, b"/mnt", None, abi.MS_PRIVATE)
    crash.layer()
    made = crash.killed_at(crash.act(Action.SHARE, "private-root", None), number, syscalls)
    with open("/proc/self/mountinfo", "rb") as file:
        (line,) = (line for line in file if line.split(b" ")[4] == b"/mnt")
    assert number or b"shared:" in line
    calls.umount(MERGED)
    return made


ACTS = [detach, unmount, share]


def every(one: Callable[[int, str], int], syscalls: str) -> Callable[[Sandbox], int]:
    """Kill at the first call, the second, … to the last that an undisturbed act makes; returns how many that were."""

    def run(_sandbox: Sandbox) -> int:
        calls_made = one(0, syscalls)
        for number in range(1, calls_made + 1):
            one(number, syscalls)
        return calls_made

    return run


@pytest.mark.parametrize("one", ACTS)
def test_killed_at_each_call_that_changes_something(one: Callable[[int, str], int]) -> None:
    assert crash.in_few_processes(every(one, CHANGING), 50) >= {detach: 15, unmount: 5, share: 1}[one]


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("one", ACTS)
def test_killed_at_each_call_of_all(one: Callable[[int, str], int]) -> None:
    kills = crash.in_few_processes(every(one, "all"), 590)
    print(f"{one.__name__}: {kills} kills")
    assert kills > 100


def test_only_our_own_leftovers_are_removed(home: Home) -> None:
    home.layer()
    ours = [replace.PREFIX + b"0123456789abcdef", replace.PREFIX + b"ffffffffffffffff"]
    kept = [replace.PREFIX + b"0123456789abcde", replace.PREFIX + b"0123456789abcdeg", b"x" + ours[0]]

    def scatter() -> list[bytes]:
        for name in ours + kept:
            os.mkdir(ROOT + b"/X/" + name)
        os.mkdir(ROOT + b"/" + ours[0])  # beside a layer, not beside a mountpoint
        full = ROOT + b"/X/" + replace.PREFIX + b"1111111111111111"
        os.makedirs(full + b"/data")
        with open(ROOT + b"/X/" + replace.PREFIX + b"2222222222222222", "wb"):
            pass
        os.symlink(ours[0], ROOT + b"/X/" + replace.PREFIX + b"3333333333333333")
        mounted = ROOT + b"/X/" + replace.PREFIX + b"4444444444444444"
        os.mkdir(mounted)
        calls.mount(b"tmpfs", mounted, b"tmpfs")
        overlay(ROOT + b"/Y", mounted=False)
        os.mkdir(ROOT + b"/Y/" + ours[1])
        os.symlink(b"Y", ROOT + b"/Z")
        return apply.remove_leftovers(crash.looker())

    removed = home.run(scatter)
    assert sorted(removed) == sorted([ROOT + b"/X/" + name for name in ours] + [ROOT + b"/Y/" + ours[1]])
    left = home.run(lambda: sorted(os.listdir(ROOT + b"/X")))
    digits = [replace.PREFIX + digit * 16 for digit in (b"1", b"2", b"3", b"4")]
    assert left == sorted(NAMES + kept + digits)
    assert home.run(lambda: os.listdir(ROOT + b"/Y")) != []
    assert home.run(lambda: stat.S_ISDIR(os.stat(ROOT + b"/" + ours[0]).st_mode))
