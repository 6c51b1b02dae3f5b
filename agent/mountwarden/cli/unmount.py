"""mountwarden unmount: unmount leaked copies inside the namespaces that hold them, and what is abandoned at home."""

from typing import TYPE_CHECKING

from ..model import Action
from . import actions

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from .options import Parser

_EPILOG = """\
For what a detach does not reach, or must not touch: a copy bound on another directory, one that a newer mount hides,
or one with mounts of something else on its spot, which stay. A child enters each namespace, finds the copy again by its
mount id, and unmounts it. It is declined where the umount would spread to other namespaces, where something else is
mounted on the copy, and where a program uses it there, which is named.

What is abandoned is unmounted on the host itself, where its engine proves once more that nobody owns it. It is declined
where anything would go with it but copies of the same mount, something is mounted on it, or a program uses it, which is
named; it is never unmounted lazily.

--lazy unmounts what is in use too (MNT_DETACH). What a program has open goes on working, and keeps the layer or device
busy until it is closed; a path that it looks up from then on shows the bare directory below the mountpoint, and what it
writes there stays there. The service itself never does that.

examples:
  mountwarden unmount mw-0123456789 --dry-run
  mountwarden unmount --all --unit leaky.service
  mountwarden unmount --all --kind abandoned
"""


def register(subparsers: "_SubParsersAction[Parser]") -> None:
    """Add the command to the parser."""
    actions.register(
        subparsers,
        Action.UNMOUNT,
        help="unmount leaked copies inside the namespaces that hold them, and what is abandoned",
        description="Unmounts leaked copies in the namespaces that hold them, and on the host what is abandoned there.",
        epilog=_EPILOG,
        everything="every leaked finding that a detach does not reach, or must not touch, and all that is abandoned",
        lazy="unmount what is in use there too: its programs keep what they have open",
    )
