"""mountwarden rejoin: make a service's severed copies of a root slaves of the host's mount again."""

from argparse import Namespace
from functools import partial
from typing import TYPE_CHECKING

from ..model import Action, NamespaceKind
from ..remedies.plan import named_units
from ..report.types import FindingJson, holders
from . import actions, configuration, session

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from .options import Parser

_EPILOG = """\
Nothing is restarted. From then on umounts on the host reach the service, and new mounts of the host appear in it,
writable as they are on the host; a plain umount on the host fails with EBUSY while the service is busy in its copy. So
the command asks before each finding, unless --yes is given or a policy for rejoin names its unit. A service with a
root directory of its own or a read-only "/" (RootDirectory=, ProtectSystem=strict) is declined unless --unit or a
policy names it.

examples:
  mountwarden rejoin mw-0123456789 --dry-run
  mountwarden rejoin mw-0123456789 --unit leaky.service --yes
"""


def register(subparsers: "_SubParsersAction[Parser]") -> None:
    """Add the command to the parser."""
    actions.register(
        subparsers,
        Action.REJOIN,
        run,
        help="let umounts on the host reach a service again, without restarting it",
        description="Makes a service's severed copies of a root slaves of the host's mount again, from outside.",
        epilog=_EPILOG,
        everything="every severed finding of a service",
        yes="do not ask",
    )


def run(arguments: Namespace) -> int:
    """Rejoin, or say what would be done."""
    session.need_root("mountwarden rejoin")
    ask = partial(_not_of, named_units(configuration.of(arguments, acts=True)))
    return actions.run(arguments, Action.REJOIN, means=_of_a_service, ask=ask, unit=arguments.unit)


def _of_a_service(finding: FindingJson) -> bool:
    return all(copy["namespace"]["kind"] == NamespaceKind.SERVICE for copy in finding["copies"])


def _not_of(units: frozenset[str], finding: FindingJson) -> bool:
    return not any(holder["unit"] in units for holder in holders(finding))
