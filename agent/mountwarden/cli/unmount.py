"""mountwarden unmount: unmount leaked copies inside the namespace that holds them."""

from argparse import Namespace
from typing import TYPE_CHECKING

from ..model import Action, Evidence, Finding, Kind, Reach, Severity
from . import actions, options

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_EPILOG = """\
For what a detach at home does not reach: a copy bound on another directory, or one that a newer mount hides. A child
enters the namespace, finds the copy again by its mount id, and unmounts it, lazily where it is in use there. Declined
where the umount would spread to other namespaces, or where something else is mounted on the copy.

examples:
  mountwarden unmount mw-0123456789 --dry-run
  mountwarden unmount --all --unit leaky.service
"""


def register(subparsers: "_SubParsersAction[options.Parser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "unmount",
        help="unmount leaked copies inside the namespace that holds them",
        description="Unmounts leaked copies in the one namespace that holds them, where a detach does not reach.",
        epilog=_EPILOG,
    )
    parser.add_argument("id", metavar="ID", nargs="*", help="findings, by their ids")
    parser.add_argument("--all", action="store_true", help="every leaked finding that a detach does not reach")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done")
    parser.add_argument("--yes", action="store_true", help="with --all: do not ask")
    options.waiting(parser)
    options.filters(parser)
    parser.set_defaults(run=run)


def run(arguments: Namespace) -> int:
    """Unmount, or say what would be done."""
    return actions.run(arguments, Action.UNMOUNT, _meant)


def _meant(finding: Finding) -> bool:
    """Whether `unmount --all` means it."""
    return (
        finding.kind is Kind.LEAKED
        and finding.severity is not Severity.INFO
        and finding.evidence is not Evidence.CLAIMED
        and finding.reach is Reach.INSIDE
    )
