"""What the service does about a real leak, in real time, while something keeps it back and after that has ended."""

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
from mountwarden.config.schema import Config, RootEntry
from mountwarden.kernel import syscalls
from mountwarden.ledger import update
from mountwarden.ledger.update import Ledger, Now
from mountwarden.model import Outcome, RootKind
from mountwarden.observe import budgets
from mountwarden.observe.enter import own_namespace
from mountwarden.remedies import apply
from mountwarden.scan.scanner import Scanner
from mountwarden.service.actions import AutomaticActions
from mountwarden.state.run_directory import RunDirectory

from tests.kernel import crash
from tests.kernel.topology import ROOT
from tests.support import tenants
from tests.support.scratch_ns import Namespace, Sandbox, hold, overlay

pytestmark = pytest.mark.usefixtures("tier")

MERGED = ROOT + b"/X/merged"
CONFIG = Config(engines=(), roots=(RootEntry(ROOT, kind=RootKind.GRAPH),))


class Service:
    """Scans and acts as the service does, each fifth of a second."""

    def __init__(self) -> None:
        self.scanner = Scanner(CONFIG, home=own_namespace())
        run = RunDirectory(Path("/mnt/run"))
        self.actions = AutomaticActions(
            run, lambda batch, action, go_on: apply.carry_out_all(batch, self.scanner, action, go_on=go_on)
        )
        self.ledger = Ledger("boot")
        self.declined: list[Outcome] = []

    def cycle(self) -> list[Outcome]:
        """One scan and what follows; what was done."""
        boot = time.clock_gettime(time.CLOCK_BOOTTIME)
        scan, now = self.scanner.scan(), Now(time.time(), boot)
        spaces = scan.picture.namespaces
        self.ledger, _ = update.update(self.ledger, scan.findings, now, CONFIG, gaps=scan.gaps, namespaces=spaces)
        findings = update.annotate(self.ledger, scan.findings, now, CONFIG)
        unread = {gap.namespace for gap in scan.gaps if gap.namespace is not None}
        self.ledger, outcomes = self.actions.act(findings, CONFIG, self.ledger, lambda ledger: ledger, unread)
        self.declined += (outcome for outcome in outcomes if not outcome.done)
        time.sleep(0.2)
        return [outcome for outcome in outcomes if outcome.done]

    def until(self, met: Callable[[], object], within: float) -> float:
        """Go on until something is so; how many seconds it took."""
        started = time.monotonic()
        while not met():
            assert time.monotonic() - started < within, [outcome.text for outcome in self.declined]
            self.cycle()
        return time.monotonic() - started


def kept_back(code: str, by: Callable[[], AbstractContextManager[Namespace]], mode: int) -> float:
    """A leak that the service declines to detach for that reason while somebody is there, for a moment.

    Returns how long after that it is gone, in seconds.
    """

    def run(_sandbox: Sandbox) -> float:
        overlay(ROOT + b"/X")
        os.chmod(ROOT, mode)
        service = Service()
        service.cycle()
        with hold() as holder:
            syscalls.umount(MERGED)
            with by() as keeper:
                service.until(lambda: service.declined, 15)
                until = time.monotonic() + 1.5
                service.until(lambda: time.monotonic() > until, 30)
                assert holder.is_mounted(MERGED)
                assert [outcome.code for outcome in service.declined] == [code], "told once"
                assert f"process {keeper.pid} (" in service.declined[0].text
            return service.until(lambda: not holder.is_mounted(MERGED), 60)

    return crash.in_few_processes(run, 90)


def test_who_stands_in_the_mountpoint_at_the_wrong_moment_puts_it_off_until_it_has_gone() -> None:
    """A namespace that was made after the umount: a default container with the host's tree bound into it, say."""
    kept_back("in-use", lambda: hold(propagation="slave", cwd=MERGED), 0o755)


def test_a_namespace_that_cannot_be_read_puts_it_off_until_it_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "OTHERS", replace(budgets.OTHERS, seconds=0.1))
    took = kept_back("unread", lambda: tenants.tenant(lambda: tenants.stacked(14)), 0o755)
    assert took < 15, took
