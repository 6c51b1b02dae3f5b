"""rmdir-on-put on real mounts: what it detaches, and everything that it must decline."""

import os
import stat
from collections.abc import Iterator

import pytest
from mountwarden.kernel import abi, syscalls
from mountwarden.model import Action, Evidence, Finding, Reach, RootKind
from mountwarden.observe.enter import own_namespace
from mountwarden.remedies import apply
from mountwarden.remedies.actions import describe
from mountwarden.remedies.plan import after as after_decline
from mountwarden.remedies.plan import plan
from mountwarden.scan.scanner import Scan, Scanner

from tests.kernel import crash
from tests.kernel.topology import DOCKER, LAYER, ROOT, Home, dockerd, state, with_layout
from tests.support.scratch_ns import Namespace, Sandbox, hold, overlay

MERGED = ROOT + b"/X/merged"


def leak(home: Home, holder: Namespace) -> Finding:
    """Unmount at home what the holder has a copy of."""
    home.umount(MERGED)
    assert holder.is_mounted(MERGED)
    (finding,) = home.leaked()
    assert holder.inode in finding.namespaces
    return finding


def test_a_leak_is_detached_and_the_directory_is_as_it_was(home: Home) -> None:
    home.layer()

    def dress() -> tuple[int, int, int]:
        syscalls.umount(MERGED)
        os.chmod(MERGED, 0o2751)
        os.chown(MERGED, 1234, 4321)
        os.chmod(MERGED, 0o2751)
        os.setxattr(MERGED, "trusted.label", b"kept")
        os.setxattr(MERGED, "security.selinux", b"system_u:object_r:container_file_t:s0\0")
        status = os.stat(MERGED)
        overlay(ROOT + b"/X")
        return status.st_mode, status.st_uid, status.st_gid

    mode, uid, gid = home.run(dress)
    with hold(home.sandbox) as first, hold(home.sandbox) as second:
        finding = leak(home, first)
        before = home.run(lambda: state(MERGED))
        outcome = home.act(finding, Action.DETACH)
        assert outcome.done, outcome.text
        assert not first.is_mounted(MERGED)
        assert not second.is_mounted(MERGED), "one detach drops the copies of every namespace"
        after = home.run(lambda: state(MERGED))
        assert after.directory[1] != before.directory[1], "it is another directory"
        assert (after.directory[2:], after.xattrs, after.content) == (before.directory[2:], before.xattrs, ())
        assert (after.directory[2], after.directory[3], after.directory[4]) == (mode, uid, gid)
        assert stat.S_IMODE(mode) == 0o2751
        assert home.leaked() == ()
        assert home.run(lambda: sorted(os.listdir(ROOT + b"/X"))) == [b"lower", b"merged", b"upper", b"work"]


def test_a_copy_in_a_user_namespace_is_detached_though_it_is_locked(home: Home) -> None:
    home.layer()
    # The home is private here: a slave copy would go with the umount.
    home.run(lambda: syscalls.mount(None, b"/mnt", None, abi.MS_PRIVATE))
    with hold(home.sandbox, propagation=None, userns=True) as locked:
        finding = leak(home, locked)
        with pytest.raises(OSError, match="Invalid argument"):
            locked.run(lambda: syscalls.umount(MERGED, abi.MNT_DETACH))
        assert home.act(finding, Action.DETACH).done
        assert not locked.is_mounted(MERGED)


def test_a_copy_under_another_path_is_found_and_detached(home: Home) -> None:
    home.layer()
    with hold(home.sandbox) as holder:

        def rebind() -> None:
            os.mkdir("/mnt/elsewhere")
            syscalls.mount(ROOT, b"/mnt/elsewhere", None, abi.MS_BIND | abi.MS_REC)
            syscalls.umount(MERGED)

        holder.run(rebind)
        home.umount(MERGED)
        (finding,) = home.leaked()
        assert finding.first.seen_at == b"/mnt/elsewhere/X/merged"
        assert finding.mountpoint == MERGED
        assert home.act(finding, Action.DETACH).done
        assert not holder.is_mounted(b"/mnt/elsewhere/X/merged")


def test_a_copy_that_a_process_works_in_goes_and_the_process_is_named(home: Home) -> None:
    home.layer()
    with hold(home.sandbox, cwd=MERGED) as holder:
        outcome = home.act(leak(home, holder), Action.DETACH)
        assert outcome.done
        assert not holder.is_mounted(MERGED)
        assert f"process {holder.pid}" in outcome.verified
        assert "cwd" in outcome.verified


def test_evidence_of_a_looker_that_saw_home_unmount_is_history(home: Home) -> None:
    home.layer()
    with hold(home.sandbox):
        (finding,) = (f for f in home.act_by_history(lambda: syscalls.umount(MERGED)) if f.kind == "leaked")
        assert finding.evidence is Evidence.HISTORY


def test_a_bind_on_another_directory_is_reported_and_declined(home: Home) -> None:
    home.layer()
    with hold(home.sandbox) as holder:

        def bind() -> None:
            os.mkdir("/mnt/o")
            syscalls.mount(MERGED, b"/mnt/o", None, abi.MS_BIND)
            syscalls.umount(MERGED)

        holder.run(bind)
        (finding,) = (f for f in home.act_by_history(lambda: syscalls.umount(MERGED)) if f.kind == "leaked")
        assert (finding.evidence, finding.first.reach) == (Evidence.HISTORY, Reach.INSIDE)
        assert home.act(finding, Action.DETACH).code == "out-of-reach"
        assert holder.is_mounted(b"/mnt/o")


Leaked = tuple[Home, Namespace, Finding]


@pytest.fixture
def leaked(home: Home) -> Iterator[Leaked]:
    """A leak: its home, its holder and its finding."""
    home.layer()
    with hold(home.sandbox) as holder:
        yield home, holder, leak(home, holder)


def declined(home: Home, holder: Namespace, finding: Finding, code: str, path: bytes = MERGED) -> str:
    """The detach is declined with that code, and directory and copy are as they were."""
    before, parent = home.run(lambda: (state(path), state(ROOT + b"/X")))
    outcome = home.act(finding, Action.DETACH)
    assert not outcome.done
    assert outcome.code == code, outcome.text
    assert home.run(lambda: (state(path), state(ROOT + b"/X"))) == (before, parent)
    assert holder.is_mounted(MERGED)
    return outcome.text


def test_declines_a_directory_that_is_not_empty(leaked: Leaked) -> None:
    home, holder, finding = leaked
    home.run(lambda: os.mkdir(MERGED + b"/data"))
    declined(home, holder, finding, "not-empty")


def test_declines_a_directory_that_another_namespace_has_bound(leaked: Leaked) -> None:
    home, holder, finding = leaked
    with hold(home.sandbox) as other:

        def bind() -> None:
            os.mkdir("/mnt/elsewhere")
            syscalls.mount(MERGED, b"/mnt/elsewhere", None, abi.MS_BIND)

        other.run(bind)
        text = declined(home, holder, finding, "bound")
        assert str(other.inode) in text


@pytest.mark.parametrize("how", ["cwd", "chroot"])
def test_declines_a_directory_that_a_process_is_in(leaked: Leaked, how: str) -> None:
    home, holder, finding = leaked
    with hold(home.sandbox, propagation="slave", **{how: MERGED}) as user:
        text = declined(home, holder, finding, "in-use")
        assert f"process {user.pid}" in text


def test_declines_a_directory_that_a_process_has_open(leaked: Leaked) -> None:
    home, holder, finding = leaked

    def act_with_it_open() -> str:
        fd = os.open(MERGED, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return apply.carry_out(finding, Scanner(home.config, home=own_namespace()), Action.DETACH).code
        finally:
            os.close(fd)

    assert home.run(act_with_it_open) == "in-use"
    assert holder.is_mounted(MERGED)


def test_declines_when_home_has_mounted_it_again(leaked: Leaked) -> None:
    home, holder, finding = leaked
    home.layer(mounted=True)
    outcome = home.act(finding, Action.DETACH)
    assert outcome.code == "out-of-reach"
    assert holder.is_mounted(MERGED)
    assert home.sandbox.is_mounted(MERGED)


def test_declines_a_symlink_on_the_way(leaked: Leaked) -> None:
    home, holder, finding = leaked

    def swap() -> None:
        os.rename(ROOT + b"/X", b"/mnt/away")
        os.symlink(b"/mnt/away", ROOT + b"/X")

    home.run(swap)
    outcome = home.act(finding, Action.DETACH)
    assert not outcome.done
    assert holder.is_mounted(b"/mnt/away/merged")
    assert home.run(lambda: os.readlink(ROOT + b"/X")) == b"/mnt/away"


def test_declines_when_another_file_system_covers_the_layer(leaked: Leaked) -> None:
    home, _holder, finding = leaked

    def cover() -> None:
        syscalls.mount(b"tmpfs", ROOT + b"/X", b"tmpfs")
        os.mkdir(MERGED)

    home.run(cover)
    outcome = home.act(finding, Action.DETACH)
    assert not outcome.done
    assert home.run(lambda: os.listdir(ROOT + b"/X")) == [b"merged"]


def test_declines_when_the_file_system_is_read_only(leaked: Leaked) -> None:
    home, holder, finding = leaked
    home.run(lambda: syscalls.mount(None, b"/mnt", None, abi.MS_REMOUNT | abi.MS_BIND | abi.MS_RDONLY))
    declined(home, holder, finding, "read-only")


def test_declines_what_was_judged_when_it_is_gone(leaked: Leaked) -> None:
    home, holder, finding = leaked
    holder.run(lambda: syscalls.umount(MERGED))
    assert home.act(finding, Action.DETACH).code == "gone"


def test_declines_another_mount_on_the_judged_spot(leaked: Leaked) -> None:
    home, holder, finding = leaked

    def again() -> None:
        syscalls.umount(MERGED)
        syscalls.mount(b"tmpfs", b"/tmp", b"tmpfs")  # takes the freed mount id
        overlay(b"/tmp/other")
        syscalls.mount(b"/tmp/other/merged", MERGED, None, abi.MS_BIND)

    holder.run(again)
    outcome = home.act(finding, Action.DETACH)
    assert outcome.code == "changed", outcome.text
    assert holder.is_mounted(MERGED)


def test_a_spoofed_text_is_no_finding(home: Home) -> None:
    """A container mounts its own overlay with the very options of a real layer, at the real path, in its own root."""
    layer = home.layer()
    home.umount(MERGED)
    with hold(home.sandbox) as hostile:

        def spoof() -> None:
            syscalls.mount(b"tmpfs", b"/mnt", b"tmpfs")
            overlay(ROOT + b"/X")

        hostile.run(spoof)
        assert hostile.is_mounted(layer.merged)
        assert home.leaked() == ()


def test_a_layer_that_home_never_had_is_left_to_a_human_though_its_record_says_unmounted() -> None:
    """A backup mounts the layer of a created container where its engine would, in a namespace of its own."""

    def run(_sandbox: Sandbox) -> str:
        with dockerd(), hold() as backup:
            layer = overlay(LAYER, mounted=False)
            scanner = Scanner(DOCKER, home=own_namespace())
            scanner.scan()
            backup.run(lambda: overlay(LAYER))
            (finding,) = (found for found in scanner.scan(resync=True).findings if found.kind == "leaked")
            assert (finding.evidence, finding.root.home_known) == (Evidence.RECORD, True)
            remedy = plan(finding, scanner.config).remedies[0]
            assert (remedy.action, remedy.automatic, remedy.command) == (
                Action.DETACH,
                False,
                f"mountwarden detach {finding.id}",
            )
            assert remedy.reason == "the engine's record speaks of the container, not of this mount"
            assert backup.is_mounted(layer.merged)
            return apply.carry_out(finding, scanner, Action.DETACH).code

    assert crash.in_few_processes(run, 20) == "done", "who asks for it may have it"


def test_a_file_mountpoint_is_replaced_by_a_file(home: Home) -> None:
    home.config = with_layout(b"netns/*", fstype="nsfs", kind=RootKind.NETNS)
    path = ROOT + b"/netns/abc"

    def bind() -> None:
        os.makedirs(ROOT + b"/netns")
        os.close(os.open(path, os.O_CREAT | os.O_RDONLY, 0o444))
        syscalls.mount(b"/proc/self/ns/net", path, None, abi.MS_BIND)

    home.run(bind)
    with hold(home.sandbox) as holder:
        home.umount(path)
        (finding,) = home.leaked()
        assert finding.fstype == "nsfs"
        outcome = home.act(finding, Action.DETACH)
        assert outcome.done, outcome.text
        assert not holder.is_mounted(path)
        assert home.run(lambda: stat.S_IMODE(os.stat(path).st_mode)) == 0o444


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


def test_an_umount_of_mixed_mounts_is_offered_first_and_ends_the_proven_one_alone(home: Home) -> None:
    home.layer()
    with hold(home.sandbox) as known, hold(home.sandbox) as other:

        def unmount() -> tuple[list[tuple[str, bool]], str | None, str]:
            scanner = Scanner(home.config, home=own_namespace())
            scanner.scan()
            syscalls.umount(MERGED)
            scanner.scan()
            other.run(lambda: (syscalls.umount(MERGED), overlay(ROOT + b"/X", upper=b"upper2")))
            (finding,) = (f for f in scanner.scan().findings if f.kind == "leaked")
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
            scanner = Scanner(home.config, home=own_namespace())
            scanner.scan()
            syscalls.umount(MERGED)
            scanner.scan()
            other.run(lambda: (syscalls.umount(MERGED), overlay(ROOT + b"/X", upper=b"upper2")))
            (finding,) = (f for f in scanner.scan().findings if f.kind == "leaked")
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


def test_a_namespace_that_copied_the_leak_after_the_look_loses_it_too(leaked: Leaked) -> None:
    """It is of the superblock that home has unmounted: the same leak."""
    home, holder, finding = leaked
    with hold(holder, propagation="private") as late:
        outcome = home.act(finding, Action.DETACH)
        assert outcome.done, outcome.text
        assert not holder.is_mounted(MERGED)
        assert not late.is_mounted(MERGED)


def test_an_act_whose_effect_cannot_be_read_is_not_told_as_nothing_done(leaked: Leaked) -> None:
    home, holder, finding = leaked

    class Blind(Scanner):
        """Its second look fails, as one does on a host that has run out of descriptors."""

        scans = 0

        def scan(self, *, resync: bool = False) -> Scan:
            self.scans += 1
            if self.scans > 1:
                raise OSError(24, "Too many open files")
            return super().scan(resync=resync)

    outcome = home.run(lambda: apply.carry_out(finding, Blind(home.config, home=own_namespace()), Action.DETACH))
    assert (outcome.done, outcome.code) == (False, "unverified")
    assert outcome.did.startswith("renamed an empty directory")
    assert not holder.is_mounted(MERGED)
