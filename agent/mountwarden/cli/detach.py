"""mountwarden detach: force the detach of leaked copies by rmdir-on-put."""

from argparse import Namespace
from typing import TYPE_CHECKING

from ..model import Action, Evidence, Finding, Kind, Reach, Severity
from . import actions, options

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_EPILOG = """\
Each finding is looked at again right before the act. Declined, with the host as it was, where the mountpoint is live,
not empty, used by anybody as a directory, or not what was judged. Exit status 1 when some were declined or failed.
Many are detached in batches of a quarter of a second; a signal ends it between two, and the journal has all that was
done.

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
    return actions.run(arguments, Action.DETACH, detachable)


def detachable(finding: Finding) -> bool:
    """Whether `detach --all` means it."""
    return (
        finding.kind is Kind.LEAKED
        and finding.severity is not Severity.INFO
        and finding.evidence is not Evidence.CLAIMED
        and finding.reach is Reach.RMDIR
        and finding.confirmed
        and not finding.silenced
    )
