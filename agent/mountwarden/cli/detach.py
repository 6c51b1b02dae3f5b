"""mountwarden detach: force the detach of leaked copies by rmdir-on-put."""

from argparse import Namespace
from typing import TYPE_CHECKING

from ..model import Action, Evidence, Finding, Kind, Reach, Severity
from . import acts, options, scan
from .options import Usage

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_EPILOG = """\
Each finding is looked at again right before the act. Declined, with the host as it was, where the mountpoint is live,
not empty, used by anybody as a directory, or not what was judged. Exit status 1 when some were declined or failed.

examples:
  mountwarden detach mw-0123456789 --dry-run
  mountwarden detach --all --unit leaky.service
"""


def register(subparsers: "_SubParsersAction[options.Parser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "detach",
        help="force the detach of leaked copies",
        description="Replaces the unmounted mountpoint by an empty directory, by which the kernel drops each copy.",
        epilog=_EPILOG,
    )
    parser.add_argument("id", metavar="ID", nargs="*", help="findings, by their ids")
    parser.add_argument("--all", action="store_true", help="every leaked finding that can be detached")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done")
    parser.add_argument("--yes", action="store_true", help="with --all: do not ask")
    options.waiting(parser)
    options.filters(parser)
    parser.set_defaults(run=run)


def run(arguments: Namespace) -> int:
    """Detach, or say what would be done."""
    if bool(arguments.id) == arguments.all:
        raise Usage("detach takes ids or --all, and not both", hint="mountwarden report lists the ids")
    found = acts.looked(arguments, Action.DETACH)
    findings, absent = _chosen(arguments, found)
    if arguments.dry_run:
        acts.describe(findings, Action.DETACH, json=arguments.json)
        for finding_id in absent if not arguments.json else ():
            print(acts.missing(finding_id))
        return 1 if absent else 0
    if arguments.all and not acts.consent(findings, Action.DETACH, yes=arguments.yes):
        return 1
    return acts.carry_out(
        findings, found.looker, Action.DETACH, json=arguments.json, no_color=arguments.no_color, absent=absent
    )


def _chosen(arguments: Namespace, found: scan.Scan) -> tuple[list[Finding], list[str]]:
    """The findings that are meant, and the ids that none has."""
    if arguments.all:
        return [f for f in found.findings if detachable(f) and _matches(f, arguments)], []
    by_id = {finding.id: finding for finding in found.findings}
    wanted = list(dict.fromkeys(arguments.id))
    return [by_id[one] for one in wanted if one in by_id], [one for one in wanted if one not in by_id]


def detachable(finding: Finding) -> bool:
    """Whether `detach --all` means it."""
    return (
        finding.kind is Kind.LEAKED
        and finding.severity is not Severity.INFO
        and finding.evidence is not Evidence.CLAIMED
        and finding.reach is Reach.RMDIR
        and finding.confirmed
        and not finding.silenced
        and not finding.root.observe_only
    )


def _matches(finding: Finding, arguments: Namespace) -> bool:
    import os

    root = None if arguments.root is None else os.fsencode(arguments.root)
    return (
        arguments.engine in (None, finding.root.engine)
        and arguments.kind in (None, finding.kind)
        and root in (None, finding.root.path)
        and (arguments.unit is None or any(holder.unit == arguments.unit for holder in finding.holders))
    )
