"""mountwarden share: make the mount of a root shared again."""

import os
from argparse import Namespace
from typing import TYPE_CHECKING

from ..errors import MountwardenError
from ..escape import printable
from ..model import Action, Finding, Severity
from ..remedies.actions import ACTIONS
from ..scan import confirm
from . import actions, options, outcomes

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def register(subparsers: "_SubParsersAction[options.Parser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "share",
        help="make the mount of a root shared again",
        description="Makes the mount that contains a root shared: that one mount, and none below it.",
        epilog="examples:\n  mountwarden share --dry-run\n  mountwarden share /var/lib/docker",
    )
    parser.add_argument("root", metavar="ROOT", nargs="?", help="a root's path or a private-root finding's id")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done")
    options.waiting(parser)
    parser.set_defaults(run=run)


def run(arguments: Namespace) -> int:
    """Share, or say what would be done."""
    found = actions.scanned(arguments, Action.SHARE)
    findings = _chosen(arguments.root, found)
    if arguments.dry_run:
        actions.describe(findings, Action.SHARE, json=arguments.json)
        return 0
    return outcomes.carry_out(findings, found.scanner, Action.SHARE, arguments)


def _chosen(root: str | None, found: confirm.ConfirmedScan) -> list[Finding]:
    """The private roots that are named. Without a name, those that their engine did not make private on purpose.

    Raises: MountwardenError where no root has that path.
    """
    private = [finding for finding in found.findings if ACTIONS[Action.SHARE].offered(finding)]
    if root is None:
        return [finding for finding in private if finding.severity is not Severity.INFO and not finding.silenced]
    path = os.path.realpath(os.fsencode(root))
    if not root.startswith("mw-") and all(state.root.path != path for state in found.seen.picture.roots):
        raise MountwardenError(
            f"{printable(path)} is no root that is guarded", hint="mountwarden status lists the roots"
        )
    return [finding for finding in private if finding.id == root or finding.root.path == path]
