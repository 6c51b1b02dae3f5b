"""mountwarden share: make the mount of a root shared again."""

import os
from argparse import Namespace
from typing import TYPE_CHECKING

from ..errors import MountwardenError
from ..escape import printable
from ..model import Action, Kind, Severity
from ..report.types import FindingJson, ReportJson
from . import finding_ids, options, outcomes, session
from . import source as sources
from .source import Order

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
    session.need_root("mountwarden share")
    with sources.of(arguments, acts=True) as source:
        findings = _chosen(arguments.root, source.report(wait=arguments.wait))
        order = Order(Action.SHARE, [finding["id"] for finding in findings], arguments.dry_run)
        if arguments.dry_run:
            return outcomes.describe(source, order, arguments, {})
        return outcomes.carry_out(source, order, arguments)


def _chosen(root: str | None, document: ReportJson) -> list[FindingJson]:
    """The private roots that are named. Without a name, those that their engine did not make private on purpose.

    Raises: MountwardenError where no root has that path.
    """
    private = [finding for finding in document["findings"] if finding["kind"] == Kind.PRIVATE_ROOT]
    if root is None:
        return [one for one in private if one["severity"] != Severity.INFO and not one["silenced"]]
    path = printable(os.path.realpath(os.fsencode(root)))
    if not root.startswith("mw-") and all(one["path"] != path for one in document["roots"]):
        raise MountwardenError(f"{path} is no root that is guarded", hint="mountwarden status lists the roots")
    (wanted,) = finding_ids.resolved([root], [finding["id"] for finding in private])
    return [finding for finding in private if finding["id"] == wanted or finding["root"] == path]
