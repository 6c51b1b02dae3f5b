"""mountwarden unmount: unmount leaked copies inside the namespace that holds them."""

from typing import TYPE_CHECKING

from ..model import Action
from . import actions

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from .options import Parser

_EPILOG = """\
For what a detach does not reach: a copy bound on another directory, or one that a newer mount hides. A child
enters the namespace, finds the copy again by its mount id, and unmounts it, lazily where it is in use there. It is
declined where the umount would spread to other namespaces, or where something else is mounted on the copy.

examples:
  mountwarden unmount mw-0123456789 --dry-run
  mountwarden unmount --all --unit leaky.service
"""


def register(subparsers: "_SubParsersAction[Parser]") -> None:
    """Add the command to the parser."""
    actions.register(
        subparsers,
        Action.UNMOUNT,
        help="unmount leaked copies inside the namespace that holds them",
        description="Unmounts leaked copies in the one namespace that holds them, where a detach does not reach.",
        epilog=_EPILOG,
        everything="every leaked finding that a detach does not reach",
    )
