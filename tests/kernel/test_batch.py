"""Many leaks at once: what they share, and what that costs."""

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest
from mountwarden.kernel import child
from mountwarden.model import Action, Finding
from mountwarden.remedies import apply, detach, newer_mounts, unread

from tests.kernel import crash
from tests.kernel.batches import Counting, codes, held, layer, leaks, merged, scanner
from tests.kernel.topology import Home
from tests.support.scratch_ns import Namespace, Sandbox, hold

T = TypeVar("T")


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


def test_one_act_does_for_the_copies_of_all_namespaces() -> None:
    def within(holder: Namespace, _found: list[Finding]) -> list[str]:
        with hold(holder) as other:
            found = scanner().scan().findings
            assert [finding.spaces for finding in found] == [2] * 3
            told = [outcome.code for outcome in apply.carry_out_all(found, scanner(), Action.DETACH)]
            assert (held(holder), held(other)) == (0, 0)
            return told

    assert crash.in_few_processes(leaks(3, within), 20) == ["done"] * 3


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
