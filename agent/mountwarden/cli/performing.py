"""Actions by this process, where no service runs: under the lock, each outcome in the journal."""

import contextlib
import itertools
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from ..errors import Declined
from ..model import Finding, Outcome
from ..remedies import apply
from ..remedies.plan import named_units
from ..report import outcomes
from ..report.outcomes import OutcomeJson
from ..state import lock
from ..state.run_directory import RunDirectory
from ..systemd import OWN_UNIT
from . import audit
from .source import Order

PATIENCE = 10.0
"""Seconds that a command waits for another one's action to end."""

if TYPE_CHECKING:
    from ..scan.result import Scan
    from ..scan.scanner import Scanner


def steps(order: Order, findings: Sequence[Finding], scan: "Scan") -> Iterator[OutcomeJson]:
    """What the order would do, step by step. Raises: OSError of reading /proc."""
    unread = apply.unread_steps(findings, scan, order.also_unread)
    return (outcomes.dry_run(one, order.action, unread.get((one.id, order.action), ())) for one in findings)


def perform(
    order: Order, findings: Sequence[Finding], scanner: "Scanner", go_on: Callable[[], bool]
) -> Iterator[OutcomeJson]:
    """Do it. A signal ends it between two batches.

    Raises: Declined where another command, or the service, acts; KeyboardInterrupt afterwards, where a signal came.
    """
    with _alone(order), _ending() as ended:
        refused = [_unconfirmed(finding, order) for finding in findings if not finding.confirmed]
        confirmed = [finding for finding in findings if finding.confirmed]
        named = named_units(scanner.config) | ({order.unit} if order.unit else set())
        done = apply.carry_out_all(
            confirmed,
            scanner,
            order.action,
            named=named,
            lazy=order.lazy,
            also_unread=order.also_unread,
            go_on=lambda: go_on() and not ended,
        )
        journal = audit.journal()
        for outcome in itertools.chain(refused, done):
            audit.tell(outcome, order.also_unread, journal)
            yield outcomes.as_json(outcome, scanner.config)
        audit.end()


@contextlib.contextmanager
def _alone(order: Order) -> Iterator[None]:
    """While nobody else acts; for another command a moment is waited, since most actions take less than a second.

    Raises: Declined.
    """
    held = lock.take(RunDirectory(), wait=PATIENCE)
    if isinstance(held, lock.Lock):
        with held:
            yield
    elif held.is_service:
        hint = f"it is asked without --tier and --config; where it gives no answer: systemctl restart {OWN_UNIT}"
        raise Declined("busy", f"nothing was done: {OWN_UNIT} runs ({held}), and two must not act at once", hint=hint)
    else:
        text = f"nothing was done: another mountwarden command acts now ({held})"
        raise Declined("busy", text, hint=f"{order.action} again when it has ended")


def _unconfirmed(finding: Finding, order: Order) -> Outcome:
    """The refusal of a finding that has not held for its confirm time."""
    return Outcome(finding, order.action, False, "unconfirmed", outcomes.UNCONFIRMED)


@contextlib.contextmanager
def _ending() -> Iterator[list[int]]:
    """Signals that came; one ends the work, afterwards: it must not keep from the journal what a batch has done."""
    came: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, _frame: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield came
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt
