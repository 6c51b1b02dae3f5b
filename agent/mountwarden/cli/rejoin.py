"""mountwarden rejoin: make a service's severed copies of a root slaves of home's mount again."""

from argparse import Namespace
from typing import TYPE_CHECKING

from ..config.load import load
from ..model import Action, Finding, Kind, NamespaceKind
from ..remedies.plan import named_units
from . import actions, options

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_EPILOG = """\
Nothing is restarted. From then on umounts at home reach the service, and new mounts of home appear in it, writable as
they are at home; a plain umount at home fails with EBUSY while the service is busy in its copy. So each finding is
asked about, unless --yes is given or a policy for rejoin names its unit. A service with a root directory of its own or
a read-only "/" (RootDirectory=, ProtectSystem=strict) is declined unless --unit or a policy names it.

examples:
  mountwarden rejoin mw-0123456789 --dry-run
  mountwarden rejoin mw-0123456789 --unit leaky.service --yes
"""


def register(subparsers: "_SubParsersAction[options.Parser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "rejoin",
        help="let umounts at home reach a service again, without restarting it",
        description="Makes a service's severed copies of a root slaves of home's mount again, from outside.",
        epilog=_EPILOG,
    )
    parser.add_argument("id", metavar="ID", nargs="*", help="findings, by their ids")
    parser.add_argument("--all", action="store_true", help="every severed finding of a service")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    options.waiting(parser)
    options.filters(parser)
    parser.set_defaults(run=run)


def run(arguments: Namespace) -> int:
    """Rejoin, or say what would be done."""
    units = named_units(load(arguments.config))
    named = units | ({arguments.unit} if arguments.unit else set())

    def ask(finding: Finding) -> bool:
        return not any(holder.unit in units for holder in finding.holders)

    return actions.run(arguments, Action.REJOIN, _meant, ask=ask, named=frozenset(named))


def _meant(finding: Finding) -> bool:
    """Whether `rejoin --all` means it."""
    return finding.kind is Kind.SEVERED and finding.namespace_kind is NamespaceKind.SERVICE
