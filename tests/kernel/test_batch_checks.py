"""Many leaks at once: as careful with each of them as with a single one."""

import contextlib
import os
from pathlib import Path

import pytest
from mountwarden.config.schema import Config
from mountwarden.kernel import abi, syscalls
from mountwarden.model import Action, Evidence, Finding
from mountwarden.observe.enter import own_namespace
from mountwarden.remedies import apply, newer_mounts
from mountwarden.scan.result import Scan

from tests.kernel import crash
from tests.kernel.batches import Counting, codes, held, layer, leaks, meddle_behind_the_shared_checks, merged, scanner
from tests.support.scratch_ns import Namespace, Sandbox, hold, overlay
from tests.unit.engines.trees import docker_container


def test_what_happens_behind_the_shared_checks_is_declined_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    def change() -> None:
        syscalls.mount(b"tmpfs", merged(1), b"tmpfs")
        os.mkdir(merged(2) + b"/data")
        os.rename(layer(3), b"/mnt/away")
        os.symlink(b"/mnt/away", layer(3))
        syscalls.mount(b"tmpfs", layer(4), b"tmpfs")
        os.mkdir(merged(4))
        os.rmdir(merged(5))

    def within(holder: Namespace, found: list[Finding]) -> dict[bytes, str]:
        meddle_behind_the_shared_checks(monkeypatch, change)
        told = codes(apply.carry_out_all(found, scanner(), Action.DETACH))
        kept = [path for path in (merged(1), merged(2), b"/mnt/away/merged", merged(4)) if not os.path.isdir(path)]
        assert not kept
        assert os.listdir(merged(2)) == [b"data"]
        assert not [name for n in (0, 1, 2, 3, 6, 7) for name in os.listdir(layer(n)) if name.startswith(b".")]
        assert [n for n in range(8) if holder.is_mounted(merged(n))] == [1, 2, 4]
        assert holder.is_mounted(b"/mnt/away/merged")
        return told

    told = crash.in_few_processes(leaks(8, within), 20)
    want = ["done", "live", "not-empty", "symlink", "other-mount", "gone", "done", "done"]
    assert told == {merged(number): code for number, code in enumerate(want)}


def test_what_is_seen_by_the_shared_checks_is_declined_for_that_one_alone() -> None:
    class Meddling(Counting):
        """Another namespace comes between its first look and the reading of all namespaces."""

        def scan(self, *, resync: bool = False) -> Scan:
            scan = super().scan(resync=resync)
            if self.scans == 1:
                self.other.run(lambda: syscalls.mount(merged(1), b"/tmp", None, abi.MS_BIND))
                self.other.run(lambda: syscalls.mount(b"tmpfs", merged(3), b"tmpfs"))
            return scan

        other: Namespace

    def within(holder: Namespace, found: list[Finding]) -> dict[bytes, str]:
        owner = Meddling(crash.CONFIG, home=own_namespace())
        with hold() as owner.other, hold(propagation="slave", cwd=merged(5)):
            told = codes(apply.carry_out_all(found, owner, Action.DETACH))
            assert [n for n in range(6) if holder.is_mounted(merged(n))] == [1, 3, 5]
            return told

    told = crash.in_few_processes(leaks(6, within), 20)
    want = ["done", "bound", "done", "mixed", "done", "in-use"]
    assert told == {merged(number): code for number, code in enumerate(want)}


def test_a_leak_beside_another_mount_on_its_spot_is_declined_alone() -> None:
    def within(holder: Namespace, found: list[Finding]) -> dict[bytes, str]:
        with hold() as other:
            other.run(lambda: overlay(layer(1), upper=b"upper2"))
            everything = [finding for finding in scanner().scan().findings if finding.kind == "leaked"]
            assert len(everything) == 3
            told = codes(apply.carry_out_all(everything, scanner(), Action.DETACH))
            assert [n for n in range(3) if holder.is_mounted(merged(n))] == [1]
            assert other.is_mounted(merged(1))
            return told

    told = crash.in_few_processes(leaks(3, within), 20)
    assert told == {merged(0): "done", merged(1): "mixed", merged(2): "done"}


def test_a_namespace_that_copies_the_leaks_after_the_scan_loses_them_too() -> None:
    class Copying(Counting):
        """A namespace is made between its first look and the reading of all namespaces."""

        def scan(self, *, resync: bool = False) -> Scan:
            scan = super().scan(resync=resync)
            if self.scans == 1:
                self.late = self.made.enter_context(hold(self.holder))
            return scan

        made: contextlib.ExitStack
        holder: Namespace
        late: Namespace

    def within(holder: Namespace, found: list[Finding]) -> list[str]:
        owner = Copying(crash.CONFIG, home=own_namespace())
        owner.holder = holder
        with contextlib.ExitStack() as owner.made:
            told = codes(apply.carry_out_all(found, owner, Action.DETACH))
            assert held(holder) == held(owner.late) == 0
        return list(told.values())

    assert crash.in_few_processes(leaks(3, within), 20) == ["done"] * 3


def test_copies_that_were_mounted_anew_after_the_scan_go_too() -> None:
    """Bound there from one another: they have other mount ids, and are of the same superblock."""

    class Rebinding(Counting):
        """The holder replaces its copy between its first look and the reading of all namespaces."""

        def scan(self, *, resync: bool = False) -> Scan:
            scan = super().scan(resync=resync)
            if self.scans == 1:
                self.holder.run(self.rebind)
            return scan

        def rebind(self) -> None:
            os.mkdir(b"/mnt/aside")
            syscalls.mount(merged(0), b"/mnt/aside", None, abi.MS_BIND)
            syscalls.umount(merged(0))
            syscalls.mount(b"/mnt/aside", merged(0), None, abi.MS_MOVE)

        holder: Namespace

    def within(holder: Namespace, found: list[Finding]) -> list[str]:
        owner = Rebinding(crash.CONFIG, home=own_namespace())
        owner.holder = holder
        told = codes(apply.carry_out_all(found, owner, Action.DETACH))
        assert not holder.is_mounted(merged(0))
        return list(told.values())

    assert crash.in_few_processes(leaks(1, within), 20) == ["done"]


@pytest.mark.skipif(newer_mounts.newest() is None, reason="the kernel does not say which mount is the newest")
def test_of_a_hundred_those_alone_are_declined_that_something_happens_to_between_check_and_rename(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another namespace mounts on one, binds another one and has a process in a third; home mounts on a fourth."""

    def within(holder: Namespace, found: list[Finding]) -> dict[bytes, str]:
        with hold() as other, contextlib.ExitStack() as stack:

            def change() -> None:
                other.run(lambda: syscalls.mount(b"tmpfs", merged(20), b"tmpfs"))
                other.run(lambda: syscalls.mount(merged(40), b"/tmp", None, abi.MS_BIND))
                stack.enter_context(hold(propagation="slave", cwd=merged(60)))
                syscalls.mount(b"tmpfs", merged(80), b"tmpfs")

            meddle_behind_the_shared_checks(monkeypatch, change)
            told = codes(apply.carry_out_all(found, scanner(), Action.DETACH))
            assert [n for n in range(100) if holder.is_mounted(merged(n))] == [20, 40, 60, 80]
            assert other.is_mounted(merged(20))
            assert other.is_mounted(b"/tmp")
            return told

    told = crash.in_few_processes(leaks(100, within), 60)
    want = {20: "mixed", 40: "bound", 60: "in-use", 80: "live"}
    assert told == {merged(number): want.get(number, "done") for number in range(100)}


def test_the_engines_record_is_asked_right_before_each_rename(monkeypatch: pytest.MonkeyPatch) -> None:
    data_root = Path("/var/lib/docker")

    def run(_sandbox: Sandbox) -> dict[bytes, str]:
        syscalls.mount(b"tmpfs", b"/var/lib", b"tmpfs")
        syscalls.mount(None, b"/var/lib", None, abi.MS_SHARED)
        points = [os.fsencode(data_root / f"overlay2/l{number}/merged") for number in range(3)]
        for number, point in enumerate(points):
            docker_container(data_root, f"c{number}", f"l{number}")
            overlay(os.path.dirname(point))
        with hold() as holder:
            for point in points:
                syscalls.umount(point)
            owner = scanner(Config(engines=("docker",)))
            found = [finding for finding in owner.scan().findings if finding.kind == "leaked"]
            assert {finding.evidence for finding in found} == {Evidence.RECORD}

            def change() -> None:
                docker_container(data_root, "c1", "l1", Running=True, Pid=216)
                os.unlink(data_root / "containers/c2/config.v2.json")

            meddle_behind_the_shared_checks(monkeypatch, change)
            told = codes(apply.carry_out_all(found, owner, Action.DETACH))
            assert [holder.is_mounted(point) for point in points] == [False, True, True]
            assert all(len(os.listdir(os.path.dirname(point))) == 4 for point in points)
            return told

    told = crash.in_few_processes(run, 20)
    assert [code for _point, code in sorted(told.items())] == ["done", "live", "changed"]
