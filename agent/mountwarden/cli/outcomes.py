"""Carries out one action for many findings, and prints each outcome as it comes; the journal gets an entry of each."""

import contextlib
import itertools
import signal
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..escape import printable, sentence
from ..model import Action, Finding, Outcome
from ..output import report_file, terminal
from ..report.outcomes import UNCONFIRMED, as_json

if TYPE_CHECKING:
    from ..scan.scanner import Scanner


def carry_out(
    findings: Sequence[Finding],
    scanner: "Scanner",
    action: Action,
    arguments: Namespace,
    *,
    absent: Mapping[str, str] = MappingProxyType({}),
    named: frozenset[str] = frozenset(),
) -> int:
    """Do it, and print each outcome as it comes. 0 when all were done, 1 when some were not.

    `absent` has, by id, the line of what is declined since the scan has no such finding. A signal ends it between two
    batches. Raises: KeyboardInterrupt or BrokenPipeError afterwards, where one of them ended it.
    """
    with _ending() as ending:
        outcomes = list(_carried_out(findings, scanner, action, arguments, named, ending))
    if arguments.json:
        sys.stdout.write(report_file.dumps({"outcomes": [as_json(one) for one in outcomes], "absent": list(absent)}))
    else:
        for why in absent.values():
            print(why)
        if not outcomes and not absent:
            print(f"nothing to {action}")
    return 0 if not absent and all(outcome.done for outcome in outcomes) else 1


def _carried_out(
    findings: Sequence[Finding],
    scanner: "Scanner",
    action: Action,
    arguments: Namespace,
    named: frozenset[str],
    ending: list[BaseException],
) -> Iterator[Outcome]:
    """Each outcome, printed and in the journal. Where nothing can be printed any more, `ending` gets the reason."""
    from ..remedies import apply
    from . import audit

    screen = terminal.of(sys.stdout, no_color=arguments.no_color)
    refused = [_unconfirmed(finding, action) for finding in findings if not finding.confirmed]
    confirmed = [finding for finding in findings if finding.confirmed]
    done = apply.carry_out_all(confirmed, scanner, action, named=named, go_on=lambda: not ending)
    for outcome in itertools.chain(refused, done):
        audit.tell(outcome)
        try:
            if not arguments.json and not ending:
                print(line(outcome, screen), flush=True)
        except BrokenPipeError as error:
            ending.append(error)
        yield outcome


def _unconfirmed(finding: Finding, action: Action) -> Outcome:
    """The refusal of a finding that has not held for its confirm time."""
    return Outcome(finding, action, False, "unconfirmed", UNCONFIRMED)


@contextlib.contextmanager
def _ending() -> Iterator[list[BaseException]]:
    """Why to end, which is raised afterwards: a signal must not keep from the journal what a batch has done."""
    ending: list[BaseException] = []
    handlers = {
        number: signal.signal(number, lambda *_signal: ending.append(KeyboardInterrupt()))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield ending
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if ending:
        raise ending[0]


def line(outcome: Outcome, screen: terminal.Terminal) -> str:
    """One outcome as a line."""
    sign = screen.paint(screen.glyph("✓"), "green") if outcome.done else screen.paint(screen.glyph("✗"), "red")
    return f"{sign} {outcome.finding.id} {printable(outcome.finding.mountpoint)}: {sentence(outcome.text)}"
