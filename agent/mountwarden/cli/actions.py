"""What the commands of the actions have in common: which findings are meant, what would be done, and consent to it."""

import functools
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from ..errors import MountwardenError
from ..escape import printable, sentence
from ..model import Action, Finding, Severity
from ..output import report_file
from ..output.columns import count
from ..remedies.actions import ACTIONS
from ..remedies.actions import describe as steps_of
from ..scan import confirm
from . import joined, options, outcomes, service_report, session

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def register(
    subparsers: "_SubParsersAction[options.Parser]",
    action: Action,
    command: Callable[[Namespace], int] | None = None,
    *,
    help: str,
    description: str,
    epilog: str,
    everything: str,
    yes: str = "with --all: do not ask",
) -> None:
    """Add an action's command, which takes ids or --all. `everything` and `yes` are the help of --all and --yes."""
    parser = subparsers.add_parser(str(action), help=help, description=description, epilog=epilog)
    parser.add_argument("id", metavar="ID", nargs="*", help="findings, by their ids")
    parser.add_argument("--all", action="store_true", help=everything)
    parser.add_argument("--dry-run", action="store_true", help="say what would be done")
    parser.add_argument("--yes", action="store_true", help=yes)
    options.waiting(parser)
    options.filters(parser)
    parser.set_defaults(run=command or functools.partial(run, action=action))


def run(
    arguments: Namespace,
    action: Action,
    *,
    means: Callable[[Finding], bool] = lambda finding: finding.severity is not Severity.INFO,
    ask: Callable[[Finding], bool] = lambda _finding: False,
    named: frozenset[str] = frozenset(),
) -> int:
    """A command over ids or --all. `means` says which of the findings that it is offered for --all stands for; `ask`,
    which of them need consent even when named by id.

    Raises: MountwardenError where the arguments contradict each other, without root, or without a terminal to ask on.
    """
    if bool(arguments.id) == arguments.all:
        raise MountwardenError(f"{action} takes ids or --all, and not both", hint="mountwarden report lists the ids")
    found = scanned(arguments, action)
    findings, without = _chosen(arguments, found, action, means)
    absent = _missing(without, found)
    if arguments.dry_run:
        describe(findings, action, json=arguments.json)
        for why in absent.values() if not arguments.json else ():
            print(why)
        return 1 if absent else 0
    asked = findings if arguments.all else [finding for finding in findings if ask(finding)]
    if not _consent(asked, action, yes=arguments.yes):
        return 1
    return outcomes.carry_out(findings, found.scanner, action, arguments, absent=absent, named=named)


def scanned(arguments: Namespace, action: Action) -> confirm.ConfirmedScan:
    """A scan for an action. Raises: MountwardenError without root."""
    session.need_root(f"mountwarden {action}")
    scanner = session.scanner(arguments)
    known = service_report.read(scanner.boot_id).since()
    everything = action is Action.REJOIN  # what is severed is info, and must hold as well
    return confirm.confirmed_scan(scanner, wait=arguments.wait, known=known, everything=everything)


def _chosen(
    arguments: Namespace, found: confirm.ConfirmedScan, action: Action, means: Callable[[Finding], bool]
) -> tuple[list[Finding], list[str]]:
    """The findings that ids or --all name, and the ids that none has."""
    if arguments.all:
        usable = [f for f in found.findings if f.confirmed and not f.silenced and ACTIONS[action].offered(f)]
        return [finding for finding in usable if means(finding) and _matches(finding, arguments)], []
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


def _missing(ids: Sequence[str], found: confirm.ConfirmedScan) -> dict[str, str]:
    """Of each id that no finding of the scan has, the line that declines it."""
    theirs = {one["id"] for one in joined.alone(service_report.read(found.scanner.boot_id), found)} if ids else set()
    known = "the running service alone knows this finding, and a single scan cannot prove it"
    return {
        one: f"{printable(one)}: declined: {known if one in theirs else 'there is no such finding now'}" for one in ids
    }


def describe(findings: Iterable[Finding], action: Action, *, json: bool) -> None:
    """--dry-run: what would be done, step by step."""
    steps = {finding.id: [sentence(step) for step in steps_of(finding, action)] for finding in findings}
    if json:
        sys.stdout.write(report_file.dumps({"dry_run": True, "action": str(action), "findings": steps}))
        return
    for finding in findings:
        print(f"{finding.id}: would {action} {printable(finding.mountpoint)}")
        for number, step in enumerate(steps[finding.id], 1):
            print(f"  {number}. {step}")
    if not steps:
        print(f"nothing to {action}")


def _consent(findings: Sequence[Finding], action: Action, *, yes: bool) -> bool:
    """Whether to go on with them, asked on a terminal. Raises: MountwardenError without one and without --yes."""
    if yes or not findings:
        return True
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise MountwardenError(f"{action} needs --yes where there is no terminal to ask on")
    for finding in findings:
        print(f"{finding.id} {printable(finding.mountpoint)}")
    try:
        answer = input(f"{action} {count(len(findings), 'finding')}? [y/N] ")
    except EOFError:
        answer = ""
    return answer.strip().lower() in ("y", "yes")
