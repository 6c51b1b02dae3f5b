"""When a batch of detaches ends, and what is told then."""

import argparse
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from mountwarden.cli import audit, outcomes, performing, session
from mountwarden.cli.own_scan import OwnScan
from mountwarden.cli.source import Order
from mountwarden.kernel import syscalls
from mountwarden.model import Action, Finding, Outcome, Use
from mountwarden.observe import directory_users
from mountwarden.observe.enter import own_namespace
from mountwarden.remedies import apply, detach, newer_mounts
from mountwarden.scan.confirm import ConfirmedScan
from mountwarden.scan.result import Scan
from mountwarden.state.run_directory import RunDirectory

from tests.kernel import crash
from tests.kernel.batches import Counting, codes, held, leaks, merged, scanner
from tests.support.scratch_ns import Namespace


@pytest.mark.skipif(crash.STRACE is None, reason="there is no strace")
@pytest.mark.parametrize(("which", "want"), [("", ["failed"] * 3), (":when=1+2", ["failed", "done"] * 4)])
def test_a_batch_ends_at_its_third_failure_in_a_row(
    which: str, want: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def within(holder: Namespace, found: list[Finding]) -> bool:
        monkeypatch.setattr(detach, "SECONDS", 5.0)

        def act() -> bool:
            told = apply.carry_out_all(found, scanner(), Action.DETACH, go_on=lambda: next(first))
            ended = [outcome.code for outcome in told]
            return ended == want and held(holder) == ended.count("failed") + len(found) - len(ended)

        first = iter((True, False))
        return crash.traced(act, "renameat", f"error=EIO{which}")[1]

    assert crash.in_few_processes(leaks(8, within), 60)


def test_a_batch_ends_when_its_time_is_up_and_the_next_one_scans_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def within(holder: Namespace, found: list[Finding]) -> tuple[int, int]:
        monkeypatch.setattr(detach, "SECONDS", 0.0)
        monkeypatch.setattr(detach, "LONGEST", 0.0)
        owner = scanner()
        told = codes(apply.carry_out_all(found, owner, Action.DETACH))
        return list(told.values()).count("done"), owner.scans

    assert crash.in_few_processes(leaks(3, within), 20) == (3, 6), "two scans for each when none may be used again"


@pytest.mark.parametrize("newest", [None, 1], ids=["quiet", "mounts are made all the time"])
def test_a_batch_goes_on_as_long_as_its_last_reading_took(newest: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a host where that takes seconds ends one leak with each, and forty of 300 namespaces in minutes."""
    search = directory_users.directories_in_use

    def slow(proc: int, names: frozenset[bytes]) -> Mapping[tuple[int, int], list[Use]]:
        time.sleep(0.3)
        return search(proc, names)

    def within(holder: Namespace, found: list[Finding]) -> tuple[int, int]:
        monkeypatch.setattr(detach, "SECONDS", 0.0)
        monkeypatch.setattr(directory_users, "directories_in_use", slow)
        monkeypatch.setattr(newer_mounts, "newest", lambda: newest)
        owner = scanner()
        told = codes(apply.carry_out_all(found, owner, Action.DETACH))
        return list(told.values()).count("done"), owner.scans

    assert crash.in_few_processes(leaks(3, within), 20) == (3, 2)


def test_the_scan_that_verifies_one_batch_is_the_first_of_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    def within(holder: Namespace, found: list[Finding]) -> tuple[int, int]:
        monkeypatch.setattr(detach, "MOST", 2)
        monkeypatch.setattr(detach, "SECONDS", 5.0)
        owner = scanner()
        told = codes(apply.carry_out_all(found, owner, Action.DETACH))
        return list(told.values()).count("done"), owner.scans

    assert crash.in_few_processes(leaks(6, within), 20) == (6, 4)


def test_a_scan_of_a_batch_of_which_all_is_declined_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is from before that batch, and nothing was verified by a later one."""

    def within(holder: Namespace, found: list[Finding]) -> tuple[list[str], int]:
        monkeypatch.setattr(detach, "MOST", 1)
        monkeypatch.setattr(detach, "SECONDS", 5.0)
        syscalls.mount(b"tmpfs", merged(0), b"tmpfs")
        owner = scanner()
        told = codes(apply.carry_out_all(found, owner, Action.DETACH))
        return list(told.values()), owner.scans

    assert crash.in_few_processes(leaks(2, within), 20) == (["out-of-reach", "done"], 3)


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
