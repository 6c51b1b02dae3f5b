"""rmdir-on-put on real mounts: what it detaches, and what it declines that is there before it begins."""

import os
import stat

import pytest
from mountwarden.kernel import abi, syscalls
from mountwarden.model import Action, Evidence, Reach, RootKind
from mountwarden.observe.enter import own_namespace
from mountwarden.remedies import apply
from mountwarden.remedies.plan import plan
from mountwarden.scan.result import Scan
from mountwarden.scan.scanner import Scanner

from tests.kernel import crash
from tests.kernel.one_leak import MERGED, Leaked, declined, leak
from tests.kernel.topology import DOCKER, LAYER, ROOT, Home, dockerd, state, with_layout
from tests.support.scratch_ns import Sandbox, hold, overlay


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
