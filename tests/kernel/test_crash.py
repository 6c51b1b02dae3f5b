"""SIGKILL at each system call of an act: the host is unharmed, and the next start removes what was left."""

import os
import random
import stat
import time
from collections.abc import Callable

import pytest
from mountwarden.kernel import abi
from mountwarden.kernel import syscalls as calls
from mountwarden.model import Action
from mountwarden.remedies import apply, newer_mounts, replace

from tests.kernel import crash
from tests.kernel.crash import CHANGING, MERGED, ROOT
from tests.kernel.topology import Home
from tests.support.scratch_ns import Namespace, Sandbox, hold, in_child, overlay

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
        removed = apply.remove_leftovers(crash.scanner())
        assert {os.path.basename(path) for path in removed} == others
        assert sorted(os.listdir(ROOT + b"/X")) == NAMES
        assert number or not holder.is_mounted(MERGED)
    return made


def batch(number: int, syscalls: str) -> int:
    """Of several, at most one was in hand; those before it are detached, those behind it as they were."""
    layers = [ROOT + name for name in (b"/A", b"/B", b"/C")]
    for layer in layers:
        overlay(layer)
    with hold() as holder:
        for layer in layers:
            calls.umount(layer + b"/merged")
        made = crash.killed_at(crash.act_all(), number, syscalls)
        assert all(os.listdir(layer + b"/merged") == [] for layer in layers), f"killed at call {number}"
        others = {layer + b"/" + name for layer in layers for name in set(os.listdir(layer)) - set(NAMES)}
        assert len(others) <= 1
        assert all(os.path.basename(path).startswith(replace.PREFIX) for path in others)
        assert set(apply.remove_leftovers(crash.scanner())) == others
        mounted = [holder.is_mounted(layer + b"/merged") for layer in layers]
        assert mounted == sorted(mounted), "one after the other"
        assert number or not any(mounted)
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


def rejoined(number: int, syscalls: str) -> int:
    """However far it came: the copy and home are there, and the next try does the rest."""
    calls.mount(None, b"/mnt", None, abi.MS_SHARED)
    crash.layer()
    with hold() as holder:
        holder.run(lambda: calls.mount(None, b"/mnt", None, abi.MS_SHARED))  # as systemd leaves a service's mounts
        made = crash.killed_at(crash.joining(holder)[0], number, syscalls)
        join, pair = crash.joining(holder)
        assert pair.source.shared
        assert pair.target.master in (0, pair.source.shared)
        assert Namespace(os.getpid()).is_mounted(MERGED)
        assert holder.is_mounted(MERGED)
        if not pair.target.master:
            in_child(join)
        calls.umount(MERGED)
        assert not holder.is_mounted(MERGED), "the umount at home reaches it"
    return made


ACTS = [detach, batch, unmount, share, rejoined]


@pytest.mark.parametrize("shared", [False, True])
def test_rejoin_without_mount_setattr(shared: bool) -> None:
    """Kernels from 5.10 on may have MOVE_MOUNT_SET_GROUP and no mount_setattr(2)."""

    def run(_sandbox: Sandbox) -> bool:
        crash.layer()
        with hold() as holder:
            if shared:
                holder.run(lambda: calls.mount(None, b"/mnt", None, abi.MS_SHARED))
            made, done = crash.traced(crash.joining(holder)[0], "mount_setattr", "error=ENOSYS")
            assert made == (3 if shared else 1)
            calls.umount(MERGED)
            return done and not holder.is_mounted(MERGED)

    assert crash.in_few_processes(run, 20)


def every(
    one: Callable[[int, str], int], syscalls: str, step: int = 1, before_last: int = 0, seconds: float = float("inf")
) -> Callable[[Sandbox], int]:
    """Kill at each `step`th of the calls that an undisturbed act makes, counted from so many before the last.

    Returns how many it makes. On a busy machine it is not killed at all of them: in random order, until so many
    `seconds` have passed.
    """

    def run(_sandbox: Sandbox) -> int:
        until = time.monotonic() + seconds
        calls_made = one(0, syscalls)
        numbers = list(range(calls_made - before_last, 0, -step))
        random.shuffle(numbers)
        for tried, number in enumerate(numbers):
            if time.monotonic() > until:
                assert tried > 20, "the machine is too slow"
                break
            one(number, syscalls)
        return calls_made

    return run


CALLS = {detach: 15, batch: 45, unmount: 5, share: 1, rejoined: 8}
"""How many of an act's calls change something, at least."""
PARTS = 4
"""An act has up to a thousand calls in all, and each kill takes half a second."""


@pytest.mark.parametrize("one", ACTS)
def test_killed_at_some_calls_that_change_something(one: Callable[[int, str], int]) -> None:
    assert crash.in_few_processes(every(one, CHANGING, step=30 if one is batch else 5), 50) >= CALLS[one]


@pytest.mark.long
@pytest.mark.timeout(240)
@pytest.mark.parametrize("one", ACTS)
def test_killed_at_each_call_that_changes_something(one: Callable[[int, str], int]) -> None:
    assert crash.in_few_processes(every(one, CHANGING), 230) >= CALLS[one]


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("one", ACTS)
def test_killed_at_each_call_of_all(one: Callable[[int, str], int], part: int) -> None:
    calls_made = crash.in_few_processes(every(one, "all", PARTS, part, crash.LONG_ENOUGH), 590)
    print(f"{one.__name__}: {calls_made} calls")
    assert calls_made > 20


@pytest.mark.parametrize(
    ("syscalls", "error", "code"),
    [
        ("mkdir,mkdirat", "ENOSPC", "no-space"),
        ("mkdir,mkdirat", "EDQUOT", "no-space"),
        ("mkdir,mkdirat", "EROFS", "read-only"),
        ("fsetxattr", "ENOSPC", "no-space"),
        ("fsetxattr", "EDQUOT", "no-space"),
        ("fchown", "EDQUOT", "no-space"),
        ("rename,renameat,renameat2", "ENOSPC", "no-space"),
        ("rename,renameat,renameat2", "EDQUOT", "no-space"),
        ("rename,renameat,renameat2", "EXDEV", "attributes"),
    ],
)
def test_what_the_file_system_refuses_is_declined_and_leaves_nothing(syscalls: str, error: str, code: str) -> None:
    """A disk or a quota that is full by the time of any call that needs room."""

    def run(_sandbox: Sandbox) -> bool:
        crash.layer()
        with hold() as holder:
            calls.umount(MERGED)
            carry_out = crash.outcome(Action.DETACH, holder.inode)
            made, told = crash.traced(lambda: carry_out().code == code, syscalls, f"error={error}")
            assert made
            assert crash.dressed()
            assert sorted(os.listdir(ROOT + b"/X")) == NAMES
            return told and holder.is_mounted(MERGED)

    assert crash.in_few_processes(run, 20)


@pytest.mark.long
@pytest.mark.parametrize(("delay", "happened"), [("delay_exit", True), ("delay_enter", False)])
def test_a_child_that_hangs_at_the_rename_is_told_by_what_came_of_it(delay: str, happened: bool) -> None:
    def run(_sandbox: Sandbox) -> bool:
        crash.layer()
        with hold() as holder:
            calls.umount(MERGED)
            act = crash.act(Action.DETACH, "leaked", holder.inode)
            _made, done = crash.traced(act, "rename,renameat,renameat2", f"{delay}=7s")
            assert crash.dressed()
            assert sorted(os.listdir(ROOT + b"/X")) == NAMES, "the sibling is tidied away"
            assert holder.is_mounted(MERGED) == (not happened)
            return done

    assert crash.in_few_processes(run, 40) == happened


def test_a_child_that_is_killed_within_a_batch_costs_one_leak_and_not_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A new child goes on behind the one that was in hand; whatever was done is verified and told."""
    monkeypatch.setattr(newer_mounts, "newest", lambda: None)  # other tests mount meanwhile
    monkeypatch.setattr("mountwarden.remedies.detach.SECONDS", 5.0)

    def run(_sandbox: Sandbox) -> list[bool]:
        layers = [ROOT + name for name in (b"/A", b"/B", b"/C", b"/D")]
        for layer in layers:
            overlay(layer)
        with hold() as holder:
            for layer in layers:
                calls.umount(layer + b"/merged")
            told = {}

            def act() -> bool:
                told.update({o.finding.mountpoint: (o.code, o.did) for o in crash.carry_out_all()})
                codes = [told[layer + b"/merged"][0] for layer in layers]
                begun = [text.startswith("started to rename") for _code, text in told.values()]
                return codes == ["done", "still-there", "done", "still-there"] and begun == [True] * 4

            _made, done = crash.traced(act, "rename,renameat,renameat2", "signal=KILL:when=2")
            assert done
            assert [sorted(os.listdir(layer)) for layer in layers] == [NAMES] * 4, "the siblings are tidied away"
            return [holder.is_mounted(layer + b"/merged") for layer in layers]

    assert crash.in_few_processes(run, 30) == [False, True, False, True]


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
        return apply.remove_leftovers(crash.scanner())

    removed = home.run(scatter)
    assert sorted(removed) == sorted([ROOT + b"/X/" + name for name in ours] + [ROOT + b"/Y/" + ours[1]])
    left = home.run(lambda: sorted(os.listdir(ROOT + b"/X")))
    digits = [replace.PREFIX + digit * 16 for digit in (b"1", b"2", b"3", b"4")]
    assert left == sorted(NAMES + kept + digits)
    assert home.run(lambda: os.listdir(ROOT + b"/Y")) != []
    assert home.run(lambda: stat.S_ISDIR(os.stat(ROOT + b"/" + ours[0]).st_mode))
