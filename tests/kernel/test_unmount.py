"""unmount inside: what a detach at home does not reach, and what an umount in another namespace must not do."""

import importlib
import os
import signal

import pytest
from mountwarden.kernel import abi, syscalls
from mountwarden.model import Action, Finding, Reach
from mountwarden.observe.enter import own_namespace

from tests.kernel.topology import ROOT, Home
from tests.support.scratch_ns import Namespace, hold, overlay
from tests.support.wait import wait_until

unmount = importlib.import_module("mountwarden.remedies.unmount")
MERGED = ROOT + b"/X/merged"
ELSEWHERE = b"/mnt/o"


def hidden(home: Home, holder: Namespace) -> Finding:
    """A leak whose spot home has mounted anew, so that the mountpoint can't be replaced."""
    home.umount(MERGED)
    home.run(lambda: overlay(ROOT + b"/Y"))  # else the new overlay may get the old one's device number
    home.layer()
    assert holder.is_mounted(MERGED)
    (finding,) = (f for f in home.leaked() if holder.inode in f.namespaces)
    assert finding.first.reach is Reach.INSIDE
    return finding


def test_a_copy_that_a_newer_mount_hides_is_unmounted_and_the_newer_one_stays(home: Home) -> None:
    home.layer()
    with hold(home.sandbox) as holder:
        outcome = home.act(hidden(home, holder), Action.UNMOUNT)
        assert outcome.done, outcome.text
        assert not holder.is_mounted(MERGED)
        assert home.sandbox.is_mounted(MERGED)
        assert home.leaked() == ()


def test_a_copy_bound_elsewhere_is_unmounted(home: Home) -> None:
    home.layer()
    with hold(home.sandbox) as holder:

        def bind() -> None:
            os.mkdir(ELSEWHERE)
            syscalls.mount(MERGED, ELSEWHERE, None, abi.MS_BIND)
            syscalls.umount(MERGED)

        holder.run(bind)
        outcome = home.act_after(lambda: syscalls.umount(MERGED), Action.UNMOUNT)
        assert outcome.done, outcome.text
        assert not holder.is_mounted(ELSEWHERE)
        assert "unmounted" in outcome.did


def test_a_busy_copy_is_declined_with_its_user_and_unmounted_lazily_where_that_is_asked_for(home: Home) -> None:
    home.layer()
    with hold(home.sandbox, cwd=MERGED) as holder:
        finding = hidden(home, holder)
        outcome = home.act(finding, Action.UNMOUNT)
        assert (outcome.done, outcome.code) == (False, "busy")
        assert f"in use in namespace {holder.inode} by process {holder.pid}" in outcome.text
        assert "--lazy" in outcome.text
        assert holder.is_mounted(MERGED)
        outcome = home.act(finding, Action.UNMOUNT, lazy=True)
        assert outcome.done, outcome.text
        assert "lazily" in outcome.did
        assert f"process {holder.pid}" in outcome.verified
        assert not holder.is_mounted(MERGED)


def test_all_copies_go_in_one_act(home: Home) -> None:
    home.layer()
    with hold(home.sandbox) as one, hold(home.sandbox) as other:
        home.umount(MERGED)
        (finding,) = home.leaked()
        outcome = home.act(finding, Action.UNMOUNT)
        assert outcome.done, outcome.text
        assert not one.is_mounted(MERGED)
        assert not other.is_mounted(MERGED)
        assert all(f"namespace {space.inode}: " in outcome.did for space in (one, other))


def test_one_that_is_in_use_does_not_keep_back_the_others(home: Home) -> None:
    home.layer()
    with hold(home.sandbox, cwd=MERGED) as busy, hold(home.sandbox) as one, hold(home.sandbox) as other:
        home.umount(MERGED)
        (finding,) = home.leaked()
        outcome = home.act(finding, Action.UNMOUNT)
        assert (outcome.done, outcome.code) == (False, "busy")
        assert outcome.text.startswith(
            "unmounted in 2 of 3 namespaces; in the others declined: it is in use in namespace"
        )
        assert [space.is_mounted(MERGED) for space in (busy, one, other)] == [True, False, False]
        assert home.act(finding, Action.UNMOUNT).code == "busy"


def test_a_copy_that_a_user_namespace_locks_is_declined_as_such(home: Home) -> None:
    home.layer()
    home.run(lambda: syscalls.mount(None, b"/mnt", None, abi.MS_PRIVATE))
    with hold(home.sandbox, propagation=None, userns=True) as locked:
        home.umount(MERGED)
        (finding,) = home.leaked()
        outcome = home.act(finding, Action.UNMOUNT)
        assert outcome.code == "locked", outcome.text
        assert locked.is_mounted(MERGED)


def test_a_copy_made_in_a_user_namespace_is_unmounted(home: Home) -> None:
    home.layer()
    with hold(home.sandbox, propagation=None, userns=True) as nested:

        def bind() -> None:
            os.mkdir(ELSEWHERE)
            syscalls.mount(MERGED, ELSEWHERE, None, abi.MS_BIND)

        nested.run(bind)
        outcome = home.act_after(lambda: syscalls.umount(MERGED), Action.UNMOUNT)
        assert outcome.done, outcome.text
        assert not nested.is_mounted(ELSEWHERE)


def test_declines_what_would_spread_to_a_mount_that_is_no_copy(home: Home) -> None:
    home.layer()
    with hold(home.sandbox, propagation=None) as peer:
        home.run(lambda: syscalls.mount(None, b"/mnt", None, abi.MS_PRIVATE))
        home.umount(MERGED)

        def bind() -> None:
            os.mkdir(ELSEWHERE)
            syscalls.mount(ROOT, ELSEWHERE, None, abi.MS_BIND)

        peer.run(bind)
        (finding,) = home.leaked()
        outcome = home.act(finding, Action.UNMOUNT)
        assert outcome.code == "spreads", outcome.text
        assert peer.is_mounted(MERGED)


def test_copies_in_one_peer_group_go_together_and_the_newer_mount_at_home_stays(home: Home) -> None:
    home.layer()
    with hold(home.sandbox, propagation=None) as peer:
        home.run(lambda: syscalls.mount(None, b"/mnt", None, abi.MS_PRIVATE))
        home.umount(MERGED)
        home.run(lambda: overlay(ROOT + b"/Y"))
        home.layer()
        with hold(peer, propagation=None) as third:
            (finding,) = home.leaked()
            assert finding.spaces == 2
            outcome = home.act(finding, Action.UNMOUNT)
            assert outcome.done, outcome.text
            assert "unmounted along with its peers" in outcome.did
            assert not peer.is_mounted(MERGED)
            assert not third.is_mounted(MERGED)
            assert home.sandbox.is_mounted(MERGED)


@pytest.mark.parametrize("how", ["over", "below"])
def test_declines_when_something_else_is_mounted_on_the_copy(home: Home, how: str) -> None:
    home.run(lambda: os.makedirs(ROOT + b"/X/lower/sub"))
    home.layer()
    with hold(home.sandbox) as holder:
        finding = hidden(home, holder)
        where = MERGED if how == "over" else MERGED + b"/sub"
        holder.run(lambda: syscalls.mount(b"tmpfs", where, b"tmpfs"))
        outcome = home.act(finding, Action.UNMOUNT)
        assert outcome.code == "mounted-on", outcome.text
        assert holder.is_mounted(where)
        assert holder.is_mounted(MERGED)


def test_a_symlink_on_the_way_inside_is_not_followed(home: Home) -> None:
    home.layer()
    with hold(home.sandbox) as holder:
        finding = hidden(home, holder)

        def swap() -> None:
            syscalls.mount(b"tmpfs", ROOT, b"tmpfs")
            os.symlink("/", ROOT + b"/X")

        holder.run(swap)
        assert home.act(finding, Action.UNMOUNT).code == "changed"
        assert home.sandbox.is_mounted(MERGED)


def test_what_is_claimed_or_no_leak_is_not_unmounted(home: Home) -> None:
    home.layer()
    home.run(lambda: syscalls.mount(None, b"/mnt", None, abi.MS_PRIVATE))
    with hold(home.sandbox) as holder:
        (severed,) = (f for f in home.findings() if f.kind == "severed")
        assert home.act(severed, Action.UNMOUNT).code == "not-applicable"
        assert holder.is_mounted(MERGED)


def test_another_mount_at_the_same_path_is_not_taken_for_the_copy(home: Home) -> None:
    home.layer()
    with hold(home.sandbox) as holder:
        finding = hidden(home, holder)

        def cover() -> None:
            syscalls.mount(b"tmpfs", ROOT, b"tmpfs")
            os.makedirs(MERGED)
            syscalls.mount(b"tmpfs", MERGED, b"tmpfs")
            os.mkdir(MERGED + b"/data")

        holder.run(cover)
        assert home.act(finding, Action.UNMOUNT).code == "covered"
        assert holder.run(lambda: os.listdir(MERGED)) == [b"data"]


def test_a_process_that_is_in_another_namespace_is_not_entered(home: Home) -> None:
    with hold(home.sandbox) as one, hold(home.sandbox) as other:
        with pytest.raises(ProcessLookupError):
            unmount.enter(one.pid, list, inode=other.inode, deadline=3)
        assert unmount.enter(one.pid, own_namespace, inode=one.inode, deadline=3) == one.inode


def test_a_copy_in_a_namespace_without_a_process_is_unmounted(home: Home) -> None:
    """A descriptor alone keeps the namespace."""
    home.layer()
    with hold(home.sandbox) as holder:

        def act() -> tuple[bool, str]:
            fd = os.open(f"/proc/{holder.pid}/ns/mnt", os.O_RDONLY)
            try:
                os.kill(holder.pid, signal.SIGKILL)
                wait_until(lambda: not os.path.exists(f"/proc/{holder.pid}/ns/mnt"), 10)
                syscalls.umount(MERGED)
                (finding,) = home.found("leaked")
                outcome = home.carry_out(finding, Action.UNMOUNT)
                return outcome.done, outcome.text
            finally:
                os.close(fd)

        done, text = home.run(act)
        assert done, text
