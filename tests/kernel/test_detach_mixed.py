"""A detach takes no mount along that was not proved to be left behind: `mixed`, and who is named."""

import os

import pytest
from mountwarden.kernel import abi, syscalls
from mountwarden.model import Action, Evidence, Finding, RootKind
from mountwarden.observe.enter import own_namespace
from mountwarden.remedies import apply
from mountwarden.remedies.actions import describe
from mountwarden.remedies.plan import after as after_decline
from mountwarden.remedies.plan import plan
from mountwarden.scan.result import Scan
from mountwarden.scan.scanner import Scanner

from tests.kernel import crash
from tests.kernel.one_leak import MERGED, Leaked, declined, leak
from tests.kernel.topology import DOCKER, LAYER, ROOT, Home, dockerd, state, with_layout
from tests.support.scratch_ns import Namespace, Sandbox, hold, overlay


def test_the_same_mounted_anew_is_another_mount_where_it_has_the_same_superblock(home: Home) -> None:
    """A network namespace that another one binds there itself: device, root, type and options are the same.

    Its mount id, which is all that tells it on an old kernel, is another one, since it is made first.
    """
    home.config = with_layout(b"netns/*", fstype="nsfs", kind=RootKind.NETNS)
    path = ROOT + b"/netns/abc"

    def make() -> None:
        os.makedirs(ROOT + b"/netns")
        for name in (path, b"/mnt/new"):
            os.close(os.open(name, os.O_CREAT | os.O_RDONLY, 0o444))
        syscalls.mount(b"/proc/self/ns/net", path, None, abi.MS_BIND)

    def swap() -> None:
        syscalls.mount(b"/proc/self/ns/net", b"/mnt/new", None, abi.MS_BIND)
        syscalls.umount(path)
        syscalls.mount(b"/mnt/new", path, None, abi.MS_MOVE)

    home.run(make)
    with hold(home.sandbox) as holder, hold(home.sandbox) as other:

        def act() -> tuple[str, str]:
            scanner = Scanner(home.config, home=own_namespace())
            scanner.scan()
            syscalls.umount(path)
            scanner.scan()
            other.run(swap)
            (finding,) = (f for f in scanner.scan().findings if f.kind == "leaked")
            told = [apply.carry_out(finding, scanner, action).code for action in (Action.DETACH, Action.UNMOUNT)]
            return told[0], told[1]

        assert home.run(act) == ("mixed", "done")
        assert not holder.is_mounted(path)
        assert other.is_mounted(path)


def test_declines_another_mount_on_the_spot_that_was_not_judged(leaked: Leaked) -> None:
    """A container that mounts something of its own on that directory would lose it with the detach."""
    home, holder, finding = leaked
    with hold(home.sandbox) as other:
        other.run(lambda: syscalls.mount(b"tmpfs", MERGED, b"tmpfs"))
        text = declined(home, holder, finding, "mixed")
        assert f"in namespace {other.inode} (tmpfs " in text
        assert f"of process {other.pid} (" in text
        assert other.is_mounted(MERGED)


def test_declines_and_names_another_mount_that_would_go_too(leaked: Leaked) -> None:
    """Home has unmounted the one overlay; another namespace works on an overlay of its own, on the same spot."""
    home, holder, _finding = leaked
    with hold(home.sandbox) as other:
        other.run(lambda: overlay(ROOT + b"/X", upper=b"upper2"))
        (finding,) = home.leaked()
        assert finding.target is not None
        (one,), (second,) = finding.target.proven, finding.target.others
        assert {one.namespace, second.namespace} == {holder.inode, other.inode}
        who = {space.inode: f"of process {space.pid} (" for space in (holder, other)}
        text = declined(home, holder, finding, "mixed")
        another_one = f"mount {second.mount.id} in namespace {second.namespace}"
        assert f"another mount on that spot would go too: {another_one} (overlay {second.mount.device}) " in text
        assert who[second.namespace] in text
        assert other.is_mounted(MERGED)
        told = describe(finding, Action.DETACH)
        (step,) = [step for step in told if another_one in step]
        assert step.startswith(f"{another_one} {who[second.namespace]}")
        assert step.endswith(
            f"is another one (overlay {second.mount.device}) and would go too: declined while it is there"
        )
        assert (
            f"overlay {finding.device}: mount {one.mount.id} in namespace {one.namespace} {who[one.namespace]}"
            in told[-1]
        )


def beside_another(home: Home, other: Namespace) -> tuple[Scanner, Finding]:
    """A leak that scans have followed, and on its spot another overlay in a namespace that had a copy of it too."""
    scanner = Scanner(home.config, home=own_namespace())
    scanner.scan()
    syscalls.umount(MERGED)
    scanner.scan()
    other.run(lambda: (syscalls.umount(MERGED), overlay(ROOT + b"/X", upper=b"upper2")))
    (finding,) = (f for f in scanner.scan().findings if f.kind == "leaked")
    return scanner, finding


def test_an_umount_of_mixed_mounts_is_offered_first_and_ends_the_proven_one_alone(home: Home) -> None:
    home.layer()
    with hold(home.sandbox) as known, hold(home.sandbox) as other:

        def unmount() -> tuple[list[tuple[str, bool]], str | None, str]:
            scanner, finding = beside_another(home, other)
            remedies = plan(finding, scanner.config).remedies
            after = after_decline(finding, Action.DETACH, scanner.config)
            told = [(remedy.action.value, remedy.automatic) for remedy in remedies[:2]]
            return told, after and after.command, apply.carry_out(finding, scanner, Action.UNMOUNT).code

        told, after, code = home.run(unmount)
        assert (told, code) == ([("unmount", False), ("detach", False)], "done")
        assert after is None, "no unit is to be restarted for it"
        assert not known.is_mounted(MERGED)
        assert other.is_mounted(MERGED)


def test_a_record_lets_no_detach_take_another_mount() -> None:
    """What it says of the container is said of both mounts alike."""

    def run(_sandbox: Sandbox) -> str:
        with dockerd():
            layer = overlay(LAYER)
            with hold() as holder, hold() as other:
                syscalls.umount(layer.merged)
                other.run(lambda: (syscalls.umount(layer.merged), overlay(LAYER, upper=b"upper2")))
                scanner = Scanner(DOCKER, home=own_namespace())
                (finding,) = (finding for finding in scanner.scan().findings if finding.kind == "leaked")
                assert (finding.evidence, finding.spaces) == (Evidence.RECORD, 2)
                code = apply.carry_out(finding, scanner, Action.DETACH).code
                assert holder.is_mounted(layer.merged)
                assert other.is_mounted(layer.merged)
                return code

    assert crash.in_few_processes(run, 20) == "mixed"


def test_a_mount_that_is_no_leak_is_named_as_well(leaked: Leaked) -> None:
    """Another namespace has on that directory what home has elsewhere."""
    home, holder, _finding = leaked
    home.run(lambda: overlay(b"/mnt/other"))
    with hold(home.sandbox) as other:
        other.run(lambda: syscalls.mount(b"/mnt/other/merged", MERGED, None, abi.MS_BIND))
        (finding,) = home.leaked()
        (step,) = [step for step in describe(finding, Action.DETACH) if "another one" in step]
        assert f"in namespace {other.inode} of process {other.pid} (" in step
        assert ") is another one (overlay " in step
        declined(home, holder, finding, "mixed")
        assert other.is_mounted(MERGED)


def test_equal_copies_of_many_namespaces_are_named_and_go_together(leaked: Leaked) -> None:
    home, holder, _finding = leaked
    with hold(holder, propagation="private") as other:
        (finding,) = home.leaked()
        told = describe(finding, Action.DETACH)[-1]
        assert all(f"in namespace {space.inode}" in told for space in (holder, other))
        assert "another" not in told
        assert home.act(finding, Action.DETACH).done
        assert not holder.is_mounted(MERGED)
        assert not other.is_mounted(MERGED)


def test_declines_another_mount_that_came_after_the_look(leaked: Leaked) -> None:
    """It may have the freed id of the copy that was judged there, so that the id alone does not tell it."""
    home, holder, finding = leaked
    with hold(holder, propagation="private") as other:

        def swap() -> None:
            syscalls.mount(b"tmpfs", b"/tmp", b"tmpfs")
            overlay(b"/tmp/other")
            syscalls.umount(MERGED)
            syscalls.mount(b"/tmp/other/merged", MERGED, None, abi.MS_BIND)

        class Meddling(Scanner):
            """The other namespace comes between the first look and the reading of all namespaces."""

            swapped = False

            def scan(self, *, resync: bool = False) -> Scan:
                scan = super().scan(resync=resync)
                if not self.swapped:
                    other.run(swap)
                    self.swapped = True
                return scan

        def act() -> str:
            return apply.carry_out(finding, Meddling(home.config, home=own_namespace()), Action.DETACH).code

        before = home.run(lambda: state(MERGED))
        assert home.run(act) == "mixed"
        assert home.run(lambda: state(MERGED)) == before
        assert holder.is_mounted(MERGED)
        assert other.is_mounted(MERGED)


def test_declines_a_copy_of_unknown_history_beside_one_that_is_known(home: Home) -> None:
    home.layer()
    with hold(home.sandbox) as known, hold(home.sandbox) as other:

        def detach() -> str:
            scanner, finding = beside_another(home, other)
            assert (finding.evidence, finding.first.namespace) == (Evidence.HISTORY, known.inode)
            assert not plan(finding, scanner.config).remedies[1].automatic
            return apply.carry_out(finding, scanner, Action.DETACH).code

        assert home.run(detach) == "mixed"
        assert known.is_mounted(MERGED)
        assert other.is_mounted(MERGED)


@pytest.mark.parametrize("where", [b"", b"/sub"])
def test_declines_what_would_go_with_a_copy_that_it_is_mounted_on(home: Home, where: bytes) -> None:
    """A file system in memory that goes with the copy below it would be lost with its files."""
    home.run(lambda: os.makedirs(ROOT + b"/X/lower/sub"))
    home.layer()
    with hold(home.sandbox) as holder:
        finding = leak(home, holder)
        holder.run(lambda: syscalls.mount(b"tmpfs", MERGED + where, b"tmpfs"))
        text = declined(home, holder, finding, "mixed")
        assert ", on a copy) of process " in text
        assert holder.is_mounted(MERGED + where)
