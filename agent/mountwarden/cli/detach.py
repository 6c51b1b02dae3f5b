"""mountwarden detach: force the detach of leaked copies by rmdir-on-put."""

from typing import TYPE_CHECKING

from ..model import Action
from . import actions

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from .options import Parser

_EPILOG = """\
Each finding is checked again right before it is detached. It is declined, with the host as it was, where the mountpoint
is live, not empty, used as a directory by a process, or not what was judged, and where a mount of something else would
go with it, each of which is named. What is declined names the remedy to try next. Exit status 1 when some were declined
or failed. Many are detached in batches of a quarter of a second; a signal ends it between two batches, and the journal
has all that was done.

A mount namespace that can't be read keeps a detach back only where its users could get to the mountpoint's directory.
It is named with its process, and --also-unread overrules it.

examples:
  mountwarden detach mw-0123456789 --dry-run
  mountwarden detach --all --unit leaky.service
  mountwarden detach mw-0123456789 --also-unread 4026532001
"""


def register(subparsers: "_SubParsersAction[Parser]") -> None:
    """Add the command to the parser."""
    actions.register(
        subparsers,
        Action.DETACH,
        help="force the detach of leaked copies",
        description="Replaces the unmounted mountpoint by an empty directory, by which the kernel drops each copy.",
        epilog=_EPILOG,
        everything="every leaked finding that can be detached",
    )
