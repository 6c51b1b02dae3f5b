"""What the acts have in common: choose findings, describe or do, one line each, and an entry in the journal."""

import contextlib
import itertools
import os
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..errors import MountwardenError
from ..escape import printable, sentence
from ..model import Action, Finding, Outcome
from ..output import report_file, terminal
from ..output.columns import count
from ..scan import confirm
from . import joined, service_report, session

if TYPE_CHECKING:
    from ..scan.scanner import Scanner


def scanned(arguments: Namespace, action: Action) -> confirm.ConfirmedScan:
    """A scan for an act, which needs root."""
    session.need_root(f"mountwarden {action}")
    scanner = session.scanner(arguments)
    known = service_report.read(scanner.boot_id).since()
    everything = action is Action.REJOIN  # what is severed is info, and must hold as well
    return confirm.confirmed_scan(scanner, wait=arguments.wait, known=known, everything=everything)


def chosen(
    arguments: Namespace, found: confirm.ConfirmedScan, action: Action, means: Callable[[Finding], bool]
) -> tuple[list[Finding], list[str]]:
    """The findings that ids or --all (of those that the act `means`) name, and the ids that none has."""
    if bool(arguments.id) == arguments.all:
        raise MountwardenError(f"{action} takes ids or --all, and not both", hint="mountwarden report lists the ids")
    if arguments.all:
        usable = [f for f in found.findings if f.confirmed and not f.silenced]
        return [f for f in usable if means(f) and _matches(f, arguments)], []
    by_id = {finding.id: finding for finding in found.findings}
    wanted = list(dict.fromkeys(arguments.id))
    return [by_id[one] for one in wanted if one in by_id], [one for one in wanted if one not in by_id]


def _matches(finding: Finding, arguments: Namespace) -> bool:
    root = None if arguments.root is None else os.fsencode(arguments.root)
    return (
        arguments.engine in (None, finding.root.engine)
        and arguments.kind in (None, finding.kind)
        and root in (None, finding.root.path)
        and (arguments.unit is None or any(holder.unit == arguments.unit for holder in finding.holders))
    )


def run(
    arguments: Namespace,
    action: Action,
    means: Callable[[Finding], bool],
    *,
    ask: Callable[[Finding], bool] = lambda _finding: False,
    named: frozenset[str] = frozenset(),
) -> int:
    """A command over ids or --all. `ask` says which findings a human must agree to even when named by id."""
    if bool(arguments.id) == arguments.all:
        raise MountwardenError(f"{action} takes ids or --all, and not both", hint="mountwarden report lists the ids")
    found = scanned(arguments, action)
    findings, without = chosen(arguments, found, action, means)
    absent = missing(without, found)
    if arguments.dry_run:
        describe(findings, action, json=arguments.json)
        for why in absent.values() if not arguments.json else ():
            print(why)
        return 1 if absent else 0
    asked = findings if arguments.all else [finding for finding in findings if ask(finding)]
    if not consent(asked, action, yes=arguments.yes):
        return 1
    return carry_out(
        findings,
        found.scanner,
        action,
        json=arguments.json,
        no_color=arguments.no_color,
        absent=absent,
        named=named,
    )


def unconfirmed(finding: Finding, action: Action) -> Outcome | None:
    """The refusal of a finding that has not held for its confirm time."""
    if finding.confirmed:
        return None
    text = "declined: it has not held for its confirm time, so an engine may be at work on it"
    return Outcome(finding, action, False, "unconfirmed", text)


def missing(ids: Sequence[str], found: confirm.ConfirmedScan) -> dict[str, str]:
    """Of each id that no finding of the look has, the line that declines it."""
    theirs = {one["id"] for one in joined.alone(service_report.read(found.scanner.boot_id), found)} if ids else set()
    known = "the running service alone knows this finding, and a single look cannot prove it"
    return {
        one: f"{printable(one)}: declined: {known if one in theirs else 'there is no such finding now'}" for one in ids
    }


def describe(findings: Iterable[Finding], action: Action, *, json: bool) -> int:
    """--dry-run: what would be done, step by step."""
    from ..remedies import apply

    told = {f.id: [sentence(step) for step in apply.describe(f, action)] for f in findings}
    if json:
        sys.stdout.write(report_file.dumps({"dry_run": True, "action": str(action), "findings": told}))
        return 0
    for finding in findings:
        print(f"{finding.id}: would {action} {printable(finding.mountpoint)}")
        for number, step in enumerate(told[finding.id], 1):
            print(f"  {number}. {step}")
    if not told:
        print(f"nothing to {action}")
    return 0


def carry_out(
    findings: Sequence[Finding],
    scanner: "Scanner",
    action: Action,
    *,
    json: bool,
    no_color: bool,
    absent: Mapping[str, str] = MappingProxyType({}),
    named: frozenset[str] = frozenset(),
) -> int:
    """Do it, and print each outcome as it comes. 0 when all were done, 1 when some were not.

    `absent` has, by id, the line of what is declined since the look has no such finding.
    """
    from ..remedies import apply
    from . import audit

    screen = terminal.of(sys.stdout, no_color=no_color)
    outcomes: list[Outcome] = []
    refused = [outcome for outcome in (unconfirmed(finding, action) for finding in findings) if outcome]
    confirmed = [finding for finding in findings if finding.confirmed]
    with _ending() as ending:
        acts = apply.carry_out_all(confirmed, scanner, action, named=named, go_on=lambda: not ending)
        for outcome in itertools.chain(refused, acts):
            outcomes.append(outcome)
            audit.tell(outcome)
            try:
                if not json and not ending:
                    print(line(outcome, screen), flush=True)
            except BrokenPipeError as error:
                ending.append(error)
    if json:
        sys.stdout.write(
            report_file.dumps({"outcomes": [as_json(outcome) for outcome in outcomes], "absent": list(absent)})
        )
    else:
        for why in absent.values():
            print(why)
        if not outcomes and not absent:
            print(f"nothing to {action}")
    return 0 if not absent and all(outcome.done for outcome in outcomes) else 1


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


def as_json(outcome: Outcome) -> dict[str, object]:
    """One outcome for programs."""
    return {
        "finding_id": outcome.finding.id,
        "action": str(outcome.action),
        "done": outcome.done,
        "code": outcome.code,
        "text": sentence(outcome.text),
        "saw": sentence(outcome.saw) or None,
        "did": sentence(outcome.did) or None,
        "verified": sentence(outcome.verified) or None,
    }


def consent(findings: Sequence[Finding], action: Action, *, yes: bool, ask: Callable[[str], str] = input) -> bool:
    """Whether to go on with all of them: asked on a terminal, else `--yes` is needed (MountwardenError without)."""
    if yes or not findings:
        return True
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise MountwardenError(f"{action} needs --yes where there is no terminal to ask on")
    for finding in findings:
        print(f"{finding.id} {printable(finding.mountpoint)}")
    try:
        answer = ask(f"{action} {count(len(findings), 'finding')}? [y/N] ")
    except EOFError:
        answer = ""
    return answer.strip().lower() in ("y", "yes")
