"""A mount namespace that can't be read keeps back only what it could matter to, and an operator may overrule it."""

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

import pytest
from mountwarden.kernel import abi, syscalls
from mountwarden.model import Action, Finding, Outcome
from mountwarden.observe import budgets
from mountwarden.observe.enter import own_namespace
from mountwarden.remedies import apply, could_matter
from mountwarden.scan.scanner import Scanner

from tests.kernel import crash
from tests.kernel.topology import ROOT, Home
from tests.support import tenants
from tests.support.scratch_ns import Namespace, Sandbox, hold, overlay
from tests.support.wait import wait_until

pytestmark = pytest.mark.usefixtures("tier")

T = TypeVar("T")

MERGED = ROOT + b"/X/merged"


@pytest.fixture(autouse=True)
def _slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes as long as a stack of some thousand mounts is not read."""
    for name in ("HOSTS_OWN", "OTHERS"):
        monkeypatch.setattr(budgets, name, replace(getattr(budgets, name), seconds=0.1))


@contextlib.contextmanager
def unreadable(**more: object) -> Iterator[Namespace]:
    """A tenant's namespace that takes too long to read."""
    with tenants.tenant(lambda: tenants.stacked(14), **more) as space:  # type: ignore[arg-type]
        yield space


def scanner() -> Scanner:
    return Scanner(crash.CONFIG, home=own_namespace())


def beside(judge: Callable[[Namespace, Namespace, Finding], T], mode: int, deeper: int = 0o755, **tenant: object) -> T:
    """Calls `judge` with a tenant that can't be read, the holder of a leak of somebody else, and that leak.

    `mode` is that of the root's directory, `deeper` that of the layer's.
    """

    def run(_sandbox: Sandbox) -> T:
        overlay(ROOT + b"/X")
        os.chmod(ROOT, mode)
        os.chmod(ROOT + b"/X", deeper)
        with hold() as holder:
            syscalls.umount(MERGED)
            with unreadable(**tenant) as space:
                scan = scanner().scan()
                (gap,) = (gap for gap in scan.gaps if gap.namespace is not None)
                assert (gap.namespace, gap.reason[:5]) == (space.inode, "ETIME")
                (leak,) = (finding for finding in scan.findings if holder.inode in finding.namespaces)
                return judge(space, holder, leak)

    return crash.in_few_processes(run, 60)


def detach(leak: Finding, **more: frozenset[int]) -> Outcome:
    return apply.carry_out(leak, scanner(), Action.DETACH, **more)  # type: ignore[arg-type]


def said(leak: Finding) -> list[str]:
    """What is said before a detach."""
    seen = scanner()
    scan = seen.scan()
    return apply.unread_steps([leak], scan)[leak.id, Action.DETACH]


@pytest.mark.parametrize(("mode", "deeper"), [(0o700, 0o755), (0o710, 0o755), (0o755, 0o710)])
def test_who_cannot_get_to_the_directory_keeps_nothing_back(mode: int, deeper: int) -> None:
    def judge(space: Namespace, holder: Namespace, leak: Finding) -> None:
        (line,) = said(leak)
        assert line.startswith(f"mount namespace {space.inode} of process {space.pid} (")
        assert "which does not matter" in line
        outcome = detach(leak)
        assert outcome.done, outcome.text
        assert not holder.is_mounted(MERGED)

    beside(judge, mode, deeper)


def test_who_could_have_mounted_there_keeps_it_back_until_it_ends() -> None:
    def judge(space: Namespace, holder: Namespace, leak: Finding) -> None:
        outcome = detach(leak)
        assert (outcome.code, outcome.unread) == ("unread", (space.inode,))
        assert f"mount namespace {space.inode} of process {space.pid} (" in outcome.text
        assert f"), uid {tenants.UID} could not be read (ETIME: " in outcome.text
        assert f"; end that, or: mountwarden detach {leak.id} --also-unread {space.inode}" in outcome.text
        assert f"declined without --also-unread {space.inode}" in said(leak)[0]
        assert holder.is_mounted(MERGED)
        assert detach(leak, also_unread=frozenset({1})).code == "unread", "another one is named"
        space.kill()
        outcome = detach(leak)
        assert (outcome.done, "overruled" in outcome.saw) == (True, False), outcome.text

    beside(judge, 0o755)


def test_an_operator_overrules_it_by_its_number() -> None:
    def judge(space: Namespace, holder: Namespace, leak: Finding) -> None:
        outcome = detach(leak, also_unread=frozenset({space.inode}))
        assert outcome.done, outcome.text
        assert f"; overruled: mount namespace {space.inode} of process {space.pid} (" in outcome.saw
        assert not holder.is_mounted(MERGED)

    beside(judge, 0o755)


def test_a_process_of_the_hosts_own_users_in_it_may_have_done_anything() -> None:
    def judge(space: Namespace, _holder: Namespace, leak: Finding) -> None:
        with subprocess.Popen(["nsenter", "-t", str(space.pid), "-m", "sleep", "100"]) as visitor:
            try:
                inside = f"/proc/{visitor.pid}/ns/mnt"
                wait_until(lambda: os.stat(inside).st_ino == space.inode, 10, "it has entered")
                text = detach(leak).text
            finally:
                visitor.kill()
        assert f"process {visitor.pid} of the host's own users is in it" in text
        assert detach(leak).done

    beside(judge, 0o700)


def test_who_has_a_directory_beyond_the_closed_one_bound_could_have_mounted_there() -> None:
    """Root bound the layer's directory for a service, from whose namespace a user's is a copy."""

    def bind() -> None:
        os.mkdir("/mnt/shown")
        syscalls.mount(ROOT + b"/X", b"/mnt/shown", None, abi.MS_BIND)

    def run(_sandbox: Sandbox) -> None:
        overlay(ROOT + b"/X")
        os.chmod(ROOT, 0o700)
        with hold() as holder:
            syscalls.umount(MERGED)
            with hold() as service:
                service.run(bind)
                assert holder.is_mounted(MERGED)
                with unreadable():
                    (leak,) = (found for found in scanner().scan().findings if found.kind == "leaked")
                    outcome = detach(leak)
                    assert outcome.code == "unread"
                    assert f"/X is mounted in namespace {service.inode} too, and may be in it" in outcome.text
                    service.run(lambda: syscalls.umount(b"/mnt/shown"))
                    assert detach(leak).done

    crash.in_few_processes(run, 60)


def test_who_is_in_a_directory_beyond_the_closed_one_could_have_mounted_there() -> None:
    def judge(space: Namespace, holder: Namespace, leak: Finding) -> None:
        assert f"process {space.pid} of it is in {os.fsdecode(ROOT)}/X" in detach(leak).text
        assert holder.is_mounted(MERGED)

    beside(judge, 0o700, cwd=ROOT + b"/X")


def test_where_modes_are_not_all_that_counts_anybody_could_have_mounted_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network file system, or one in user space, decides by itself whom it lets in."""
    monkeypatch.setattr(could_matter, "MODE_BASED", frozenset({"ext4"}))

    def judge(_space: Namespace, holder: Namespace, leak: Finding) -> None:
        assert "who may search the directories on the way to the mountpoint is not known" in detach(leak).text
        assert holder.is_mounted(MERGED)

    beside(judge, 0o700)


def test_it_is_homes_view_of_the_directories_that_counts() -> None:
    def run(_sandbox: Sandbox) -> None:
        os.chmod(ROOT, 0o755)
        with Sandbox() as sandbox:
            home = Home(sandbox)
            home.shared()
            home.layer()
            home.run(lambda: os.chmod(ROOT, 0o700))
            with hold(sandbox) as holder:
                home.umount(MERGED)
                with unreadable() as space:

                    def act() -> Outcome:
                        seen = Scanner(crash.CONFIG, home=sandbox.inode)
                        scan = seen.scan()
                        assert space.inode in [gap.namespace for gap in scan.gaps]
                        (leak,) = (finding for finding in scan.findings if finding.kind == "leaked")
                        return apply.carry_out(leak, seen, Action.DETACH)

                    assert act().done
                    home.layer()
                    home.run(lambda: os.chmod(ROOT, 0o755))
                    with hold(sandbox) as holder:
                        home.umount(MERGED)
                        assert act().code == "unread"
                        assert holder.is_mounted(MERGED)

    crash.in_few_processes(run, 60)


@pytest.mark.parametrize("shared", [False, True])
def test_an_umount_is_kept_back_only_where_it_would_spread_within_a_peer_group(*, shared: bool) -> None:
    def judge(space: Namespace, holder: Namespace, _leak: Finding) -> None:
        if shared:
            holder.run(lambda: syscalls.mount(None, b"/mnt", None, abi.MS_SHARED))
        (leak,) = (finding for finding in scanner().scan().findings if finding.kind == "leaked")
        outcome = apply.carry_out(leak, scanner(), Action.UNMOUNT)
        if shared:
            assert (outcome.code, outcome.unread) == ("unread", (space.inode,))
            assert f"end that, or: mountwarden unmount {leak.id} --also-unread {space.inode}" in outcome.text
            (line,) = apply.unread_steps([leak], scanner().scan())[leak.id, Action.UNMOUNT]
            assert line.endswith(f"declined without --also-unread {space.inode}")
            outcome = apply.carry_out(leak, scanner(), Action.UNMOUNT, also_unread=frozenset({space.inode}))
        assert outcome.done, outcome.text
        assert not holder.is_mounted(MERGED)

    beside(judge, 0o700)
