"""What the commands of the actions have in common: which findings are meant, what would be done, and consent to it."""

import functools
import re
import sys
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..errors import MountwardenError
from ..escape import printable
from ..model import Action, Severity
from ..output.columns import count
from ..report.types import FindingJson, ReportJson
from . import filters, finding_ids, options, outcomes, session
from . import source as sources
from .source import AnswerSource, Order

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
    lazy: str | None = None,
) -> None:
    """Add an action's command, which takes ids or --all. The last three are the help of its options."""
    parser = subparsers.add_parser(str(action), help=help, description=description, epilog=epilog)
    parser.add_argument("id", metavar="ID", nargs="*", help="findings, by their ids")
    parser.add_argument("--all", action="store_true", help=everything)
    parser.add_argument("--dry-run", action="store_true", help="say what would be done")
    parser.add_argument("--yes", action="store_true", help=yes)
    if lazy:
        parser.add_argument("--lazy", action="store_true", help=lazy)
    parser.add_argument("--also-unread", metavar="NS", type=_namespace, action="append", default=[], help=_ALSO_UNREAD)
    options.waiting(parser)
    options.filters(parser)
    parser.set_defaults(run=command or functools.partial(run, action=action))


_ALSO_UNREAD = "do it though this mount namespace can't be read, such as 4026532001 or mnt:[4026532001]; repeatable"


def _namespace(text: str) -> int:
    """The inode of a mount namespace, alone or as a link of /proc/PID/ns/mnt shows it. Raises: ArgumentTypeError."""
    found = re.fullmatch(r"(?:mnt:\[)?([1-9][0-9]{0,19})\]?", text, re.ASCII)
    if found is None or text.startswith("mnt:[") != text.endswith("]"):
        raise ArgumentTypeError(f"{text} is no mount namespace: it takes a number such as 4026532001")
    return int(found[1])


def run(
    arguments: Namespace,
    action: Action,
    *,
    means: Callable[[FindingJson], bool] = lambda finding: finding["severity"] != Severity.INFO,
    ask: Callable[[FindingJson], bool] = lambda _finding: False,
    unit: str | None = None,
) -> int:
    """A command over ids or --all. `means` says which of the findings that it is the first remedy of --all stands for;
    `ask`, which of them need consent even when named by id.

    Raises: MountwardenError where the arguments contradict each other, without root, or without a terminal to ask on.
    """
    if bool(arguments.id) == arguments.all:
        raise MountwardenError(f"{action} takes ids or --all, and not both", hint="mountwarden report lists the ids")
    session.need_root(f"mountwarden {action}")
    with sources.of(arguments, acts=True) as source:
        return _run(source, arguments, action, means, ask, unit)


def _run(
    source: AnswerSource,
    arguments: Namespace,
    action: Action,
    means: Callable[[FindingJson], bool],
    ask: Callable[[FindingJson], bool],
    unit: str | None,
) -> int:
    # what is severed is info, and must hold as well
    document = source.report(wait=arguments.wait, everything=action is Action.REJOIN)
    findings, absent = _chosen(arguments, document, action, means)
    order = Order(
        action,
        [finding["id"] for finding in findings],
        arguments.dry_run,
        getattr(arguments, "lazy", False),
        unit,
        _overruled(arguments.also_unread, document),
    )
    if arguments.dry_run:
        return outcomes.describe(source, order, arguments, absent)
    asked = findings if arguments.all else [finding for finding in findings if ask(finding)]
    if not _consent(asked, action, yes=arguments.yes):
        return 1
    return outcomes.carry_out(source, order, arguments, absent=absent)


def _overruled(inodes: Sequence[int], document: ReportJson) -> frozenset[int]:
    """Those of --also-unread. One that can be read is of no effect, which stderr says.

    Raises: MountwardenError for what is no mount namespace of this host now.
    """
    unread = {gap["namespace"] for gap in document["gaps"] if gap["namespace"] is not None}
    for inode in sorted({*inodes} - unread):
        if not _is_there(inode):
            listed = ", ".join(map(str, sorted(unread))) or "none"
            raise MountwardenError(f"{inode} is no mount namespace of this host now", hint=f"not read: {listed}")
        print(f"mount namespace {inode} can be read: --also-unread has no effect on it", file=sys.stderr)
    return frozenset(inodes)


def _is_there(inode: int) -> bool:
    """Whether a process is in that mount namespace, or has it open; or it is found by the walk over all of them."""
    from ..observe import namespaces, processes, processless

    pids = processes.pids()
    members = namespaces.members(pids, threads=True).by_inode
    if inode in members:
        return True
    more = processless.unlisted(members, {}, pids)
    return inode in more.members or inode in more.doors


def _chosen(
    arguments: Namespace, document: ReportJson, action: Action, means: Callable[[FindingJson], bool]
) -> tuple[list[FindingJson], dict[str, str]]:
    """The findings that ids or --all name, and of each id that none has the line that declines it.

    Raises: MountwardenError for a wrong filter.
    """
    wanted = filters.of_report(arguments, document).takes
    if arguments.all:
        usable = [one for one in document["findings"] if one["confirmed"] and not one["silenced"]]
        return [one for one in usable if _offers(one, action) and means(one) and wanted(one)], {}
    by_id = {finding["id"]: finding for finding in document["findings"]}
    ids = finding_ids.resolved(arguments.id, by_id)
    absent = {one: f"{printable(one)}: declined: there is no such finding now" for one in ids if one not in by_id}
    return [by_id[one] for one in ids if one in by_id], absent


def _offers(finding: FindingJson, action: Action) -> bool:
    """Whether the action is the first remedy of the finding, and may be carried out."""
    return [remedy["action"] for remedy in finding["remedies"] if remedy["command"]][:1] == [action]


def _consent(findings: Sequence[FindingJson], action: Action, *, yes: bool) -> bool:
    """Whether to go on with them, asked on a terminal. Raises: MountwardenError without one and without --yes."""
    if yes or not findings:
        return True
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise MountwardenError(f"{action} needs --yes where there is no terminal to ask on")
    for finding in findings:
        print(f"{finding['id']} {finding['mountpoint']}")
    try:
        answer = input(f"{action} {count(len(findings), 'finding')}? [y/N] ")
    except EOFError:
        answer = ""
    return answer.strip().lower() in ("y", "yes")
