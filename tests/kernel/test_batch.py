"""Many leaks at once: fast, and as careful with each of them as with a single one."""

import argparse
import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from mountwarden.cli import audit, outcomes, performing, session
from mountwarden.cli.own_scan import OwnScan
from mountwarden.cli.source import Order
from mountwarden.config.schema import Config
from mountwarden.kernel import abi, child, syscalls
from mountwarden.model import Action, Evidence, Finding, Outcome
from mountwarden.observe.enter import own_namespace
from mountwarden.remedies import apply, detach, newer_mounts, unread
from mountwarden.scan.confirm import ConfirmedScan
from mountwarden.scan.result import Scan
from mountwarden.scan.scanner import Scanner
from mountwarden.state.run_directory import RunDirectory

from tests.kernel import crash
from tests.kernel.topology import ROOT, Home
from tests.support.scratch_ns import Namespace, Sandbox, hold, overlay
from tests.unit.engines.trees import docker_container

T = TypeVar("T")


def layer(number: int) -> bytes:
    return ROOT + b"/L%04d" % number


def merged(number: int) -> bytes:
    return layer(number) + b"/merged"


class Counting(Scanner):
    """Counts its scans."""

    scans = 0

    def scan(self, *, resync: bool = False) -> Scan:
        self.scans += 1
        return super().scan(resync=resync)


def scanner(config: Config = crash.CONFIG) -> Counting:
    return Counting(config, home=own_namespace())


def leaks(count: int, within: Callable[[Namespace, list[Finding]], T], root: bytes = ROOT) -> Callable[[Sandbox], T]:
    """Calls `within` with the holder of so many leaks and the findings of them."""

    def run(_sandbox: Sandbox) -> T:
        for number in range(count):
            overlay(layer(number))
        with hold() as holder:
            for number in range(count):
                syscalls.umount(merged(number))
            found = [finding for finding in scanner().scan().findings if finding.kind == "leaked"]
            assert len(found) == count
            return within(holder, sorted(found, key=lambda finding: finding.mountpoint))

    return run


def held(holder: Namespace) -> int:
    """How many mounts below the root the holder has."""
    return sum(b" " + ROOT + b"/" in line for line in holder.mountinfo().splitlines())


def meddle_behind_the_shared_checks(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]) -> None:
    """Make a change at home after all that a batch shares was checked, and before its first rename."""
    at_home, changes = detach.at_home, iter((change,))

    def meddled(home: int | None, scan: Scan, function: Callable[[], T]) -> T:
        for changing in changes:
            changing()
        return at_home(home, scan, function)

    monkeypatch.setattr(detach, "at_home", meddled)


def codes(outcomes: Iterable[Outcome]) -> dict[bytes, str]:
    return {outcome.finding.mountpoint: outcome.code for outcome in outcomes}


@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.long)])
def test_a_thousand_leaks_are_detached_in_two_seconds(count: int) -> None:
    def within(holder: Namespace, found: list[Finding]) -> dict[str, float]:
        owner = scanner()
        started = time.monotonic()
        alone = apply.carry_out(found[0], owner, Action.DETACH)
        single, scans = time.monotonic() - started, owner.scans
        started, used = time.monotonic(), sum(os.times()[:4])
        outcomes = [alone, *apply.carry_out_all(found[1:], owner, Action.DETACH)]
        took, used = time.monotonic() - started, sum(os.times()[:4]) - used
        assert Counter(outcome.code for outcome in outcomes) == {"done": count}
        assert held(holder) == 0
        assert {outcome.finding.id for outcome in outcomes} == {finding.id for finding in found}
        assert all("1 copy" in o.saw and os.fsdecode(o.finding.mountpoint) in o.did and o.verified for o in outcomes)
        assert all(sorted(os.listdir(layer(n))) == [b"lower", b"merged", b"upper", b"work"] for n in range(count))
        return {"all": took, "cpu": used, "1": single, "scans": owner.scans - scans}

    figures = crash.in_few_processes(leaks(count, within), 90)
    alone = crash.in_few_processes(leaks(1, one), 20)
    print(
        f"{count} leaks detached in {figures['all']:.2f} s ({figures['cpu']:.2f} s of processor time) with "
        f"{figures['scans']} scans; a single one of them in "
        f"{figures['1'] * 1e3:.0f} ms, a single one alone in {alone * 1e3:.0f} ms"
    )
    assert figures["cpu"] < max(1.0, 2e-3 * count), (
        "seconds of processor time, since other tests may run beside this one"
    )


def one(holder: Namespace, found: list[Finding]) -> float:
    owner = scanner()
    started = time.monotonic()
    assert apply.carry_out(found[0], owner, Action.DETACH).done
    return time.monotonic() - started


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


@pytest.mark.parametrize(("layers", "spaces"), [(10, 25), pytest.param(40, 101, marks=pytest.mark.long)])
def test_many_namespaces_of_many_leaks_are_one_batch_that_reads_each_of_them_once(
    monkeypatch: pytest.MonkeyPatch, layers: int, spaces: int
) -> None:
    read = Counter[int]()
    read_each = unread.read_each

    def counted(*words: Any, **more: Any) -> Iterator[Any]:
        for inode, made in read_each(*words, **more):
            read[inode] += 1
            yield inode, made

    def within(holder: Namespace, _found: list[Finding]) -> dict[str, float]:
        with contextlib.ExitStack() as stack:
            others = [stack.enter_context(hold(holder)) for _ in range(spaces - 1)]
            found = [finding for finding in scanner().scan().findings if finding.kind == "leaked"]
            assert [(finding.count, len(finding.copies)) for finding in found] == [(spaces, 20)] * layers
            monkeypatch.setattr(unread, "read_each", counted)
            monkeypatch.setattr(newer_mounts, "newest", lambda: None)  # other tests mount meanwhile
            monkeypatch.setattr(detach, "SECONDS", 5.0)
            owner = scanner()
            used = sum(os.times()[:4])
            told = list(apply.carry_out_all(found, owner, Action.DETACH))
            used = sum(os.times()[:4]) - used
            assert [outcome.code for outcome in told] == ["done"] * layers, told[0].text
            assert {held(space) for space in (holder, *others)} == {0}
            assert f"{spaces} copies" in told[0].saw
            assert f"and {spaces - 20} more" in told[0].saw
            return {"scans": owner.scans, "reads": max(read.values()), "cpu": used}

    figures = crash.in_few_processes(leaks(layers, within), 60)
    print(f"{layers * spaces} copies detached in {figures['cpu']:.2f} s of processor time")
    assert (figures["scans"], figures["reads"]) == (2, 1)
    assert figures["cpu"] < 4


def test_a_hundred_leaks_take_as_many_children_scans_and_readings_as_two(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: Counter[str] = Counter()
    fork, read_each = os.fork, unread.read_each

    def forked() -> int:
        counts["children"] += 1
        return fork()

    def read(*words: Any, **more: Any) -> Iterator[Any]:
        counts["readings"] += 1
        return read_each(*words, **more)

    def within(holder: Namespace, found: list[Finding]) -> dict[str, int]:
        monkeypatch.setattr(os, "fork", forked)
        monkeypatch.setattr(unread, "read_each", read)
        monkeypatch.setattr(newer_mounts, "newest", lambda: None)  # other tests mount meanwhile
        monkeypatch.setattr(detach, "SECONDS", 5.0)
        owner = scanner()
        assert set(codes(apply.carry_out_all(found, owner, Action.DETACH)).values()) == {"done"}
        assert held(holder) == 0
        return {**counts, "scans": owner.scans}

    two, hundred = (crash.in_few_processes(leaks(count, within), 60) for count in (2, 100))
    assert two == hundred
    assert (hundred["readings"], hundred["scans"]) == (1, 2)


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


@pytest.mark.skipif(crash.STRACE is None, reason="there is no strace")
@pytest.mark.parametrize(("which", "want"), [("", ["failed"] * 3), (":when=1+2", ["failed", "done"] * 4)])
def test_a_batch_ends_at_its_third_failure_in_a_row(which: str, want: list[str]) -> None:
    def within(holder: Namespace, found: list[Finding]) -> bool:
        def act() -> bool:
            told = apply.carry_out_all(found, scanner(), Action.DETACH, go_on=lambda: next(first))
            ended = [outcome.code for outcome in told]
            return ended == want and held(holder) == ended.count("failed") + len(found) - len(ended)

        first = iter((True, False))
        return crash.traced(act, "renameat", f"error=EIO{which}")[1]

    assert crash.in_few_processes(leaks(8, within), 60)


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


def test_one_act_does_for_the_copies_of_all_namespaces() -> None:
    def within(holder: Namespace, _found: list[Finding]) -> list[str]:
        with hold(holder) as other:
            found = scanner().scan().findings
            assert [finding.spaces for finding in found] == [2] * 3
            told = [outcome.code for outcome in apply.carry_out_all(found, scanner(), Action.DETACH)]
            assert (held(holder), held(other)) == (0, 0)
            return told

    assert crash.in_few_processes(leaks(3, within), 20) == ["done"] * 3


def test_a_batch_ends_when_its_time_is_up_and_the_next_one_scans_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def within(holder: Namespace, found: list[Finding]) -> tuple[int, int]:
        monkeypatch.setattr(detach, "SECONDS", 0.0)
        owner = scanner()
        told = codes(apply.carry_out_all(found, owner, Action.DETACH))
        return list(told.values()).count("done"), owner.scans

    assert crash.in_few_processes(leaks(3, within), 20) == (3, 6), "two scans for each when none may be used again"


def test_the_scan_that_verifies_one_batch_is_the_first_of_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    def within(holder: Namespace, found: list[Finding]) -> tuple[int, int]:
        monkeypatch.setattr(detach, "MOST", 2)
        monkeypatch.setattr(detach, "SECONDS", 5.0)
        owner = scanner()
        told = codes(apply.carry_out_all(found, owner, Action.DETACH))
        return list(told.values()).count("done"), owner.scans

    assert crash.in_few_processes(leaks(6, within), 20) == (6, 4)


def test_a_scan_is_not_used_again_when_whoever_takes_the_outcomes_was_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator's pager may stop the command for hours between two batches."""

    def within(holder: Namespace, found: list[Finding]) -> tuple[int, str]:
        monkeypatch.setattr(detach, "MOST", 1)
        owner = scanner()
        outcomes = apply.carry_out_all(found, owner, Action.DETACH)
        assert next(outcomes).done
        until = time.monotonic() + detach.SECONDS
        while time.monotonic() < until:
            syscalls.mount(b"tmpfs", merged(1), b"tmpfs")
            syscalls.umount(merged(1))
        syscalls.mount(b"tmpfs", merged(1), b"tmpfs")
        code = next(outcomes).code
        return owner.scans, code

    assert crash.in_few_processes(leaks(2, within), 20) == (3, "out-of-reach")


def test_whoever_asked_may_end_it_between_two_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    def within(holder: Namespace, found: list[Finding]) -> tuple[list[str], int]:
        monkeypatch.setattr(detach, "MOST", 2)
        answers = iter((True, True, False))
        told = codes(apply.carry_out_all(found, scanner(), Action.DETACH, go_on=lambda: next(answers)))
        assert [number for number in range(6) if holder.is_mounted(merged(number))] == [4, 5]
        return list(told.values()), held(holder)

    assert crash.in_few_processes(leaks(6, within), 20) == (["done"] * 4, 2)


@pytest.mark.parametrize("how", ["signal", "pipe"])
def test_an_operators_command_that_is_ended_tells_the_journal_all_that_was_done(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def within(holder: Namespace, found: list[Finding]) -> tuple[list[str], list[int]]:
        told: list[str] = []
        reader, writer = os.pipe()

        def tell(outcome: Outcome, *_overruled: object) -> None:
            told.append(outcome.code)
            if how == "signal" and len(told) == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            if how == "pipe" and len(told) == 1:
                os.close(reader)

        monkeypatch.setattr(detach, "MOST", 2)
        monkeypatch.setattr(audit, "tell", tell)
        monkeypatch.setattr("sys.stdout", open(writer, "w"))  # noqa: SIM115 (its last flush fails)
        monkeypatch.setattr(performing, "RunDirectory", lambda: RunDirectory(Path("/mnt/run")))
        monkeypatch.setattr(session, "scanner", lambda _arguments, **_acts: scanner())
        arguments = argparse.Namespace(json=False, no_color=True)
        source = OwnScan(arguments, "", acts=True)
        confirmed = tuple(replace(finding, confirmed=True) for finding in found)
        source._found = ConfirmedScan(source._scanner, source._scanner.scan(), confirmed)
        order = Order(Action.DETACH, [finding.id for finding in confirmed])
        with pytest.raises(KeyboardInterrupt if how == "signal" else BrokenPipeError):
            outcomes.carry_out(source, order, arguments)
        return told, [number for number in range(6) if holder.is_mounted(merged(number))]

    assert crash.in_few_processes(leaks(6, within), 20) == (["done"] * 2, [2, 3, 4, 5])


def test_a_look_that_fails_fails_the_batch_and_does_not_end_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(Counting):
        """Its second look fails, which was to verify the first batch."""

        def scan(self, *, resync: bool = False) -> Scan:
            scan = super().scan(resync=resync)
            if self.scans == 2:
                raise OSError(24, "Too many open files")
            return scan

    def within(holder: Namespace, found: list[Finding]) -> list[str]:
        monkeypatch.setattr(detach, "MOST", 2)
        told = apply.carry_out_all(found, Failing(crash.CONFIG, home=own_namespace()), Action.DETACH)
        return [outcome.code for outcome in told]

    assert crash.in_few_processes(leaks(4, within), 20) == ["unverified", "unverified", "done", "done"]


def test_a_home_elsewhere_takes_one_child_for_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    children: list[str] = []
    ask = child.ask

    def counted(function: Callable[[], T], *, deadline: float, what: str = "a child") -> T:
        children.append(what)
        return ask(function, deadline=deadline, what=what)

    def run(_sandbox: Sandbox) -> list[str]:
        with Sandbox() as sandbox, contextlib.ExitStack() as stack:
            home = Home(sandbox)
            home.shared()
            for number in range(4):
                home.layer(os.path.basename(layer(number)))
            holder = stack.enter_context(hold(sandbox))
            for number in range(4):
                home.umount(merged(number))
            owner = Counting(crash.CONFIG, home=sandbox.inode)
            found = [finding for finding in owner.scan().findings if finding.kind == "leaked"]
            monkeypatch.setattr(child, "ask", counted)
            monkeypatch.setattr(newer_mounts, "newest", lambda: None)  # other tests mount meanwhile
            told = codes(apply.carry_out_all(found, owner, Action.DETACH))
            assert list(told.values()) == ["done"] * 4
            acting = [what for what in children if "mount namespace" in what]
            assert acting == [f"the child in the mount namespace of process {sandbox.pid}"]
            assert held(holder) == 0
            assert home.run(lambda: all(os.path.isdir(merged(number)) for number in range(4)))
            return acting

    assert len(crash.in_few_processes(run, 20)) == 1
