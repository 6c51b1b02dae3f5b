"""mountwarden history: what was found, done and ended, from the journal."""

import sys
from argparse import Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..escape import sentence
from ..output import report_file, terminal
from ..systemd import journal_reader
from ..systemd.journal import PREFIX
from . import options

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_ACTS = ("acted", "failed", "left-alone")
_EPILOG = """\
examples:
  mountwarden history --since yesterday
  mountwarden history --acts --json
  mountwarden history mw-0123456789
"""


def register(subparsers: "_SubParsersAction[options.Parser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "history",
        help="what was found, done and ended, from the journal",
        description="Shows what the journal has of the service and of commands that root ran on this host, these with\n"
        "who ran them, oldest first. What a container wrote is never shown.",
        epilog=_EPILOG,
        tier=False,
    )
    parser.add_argument("id", metavar="ID", nargs="*", help="of these findings (default: all)")
    parser.add_argument("--acts", action="store_true", help="only what was done, declined or failed")
    parser.add_argument("--since", metavar="WHEN", help="as journalctl takes it (default: this boot)")
    parser.set_defaults(run=run)


def run(arguments: Namespace) -> int:
    """Read the journal and print the entries. Raises: MountwardenError where it can't be read."""
    entries = journal_reader.read(_words(arguments), warn=lambda text: print(f"mountwarden: {text}", file=sys.stderr))
    if arguments.json:
        sys.stdout.write(report_file.dumps({"history": entries}))
    else:
        sys.stdout.write(terminal.of(sys.stdout).lines(map(as_text, entries)))
    return 0


def as_text(entry: Mapping[str, Any]) -> str:
    """An entry as a line."""
    by = f", by {sentence(entry['by'])}" if entry.get("by") else ""
    return f"{entry['at']} {sentence(entry['event'] or '-'):10} {sentence(entry['message'])}{by}"


def _words(arguments: Namespace) -> list[str]:
    words = ["--boot"] if arguments.since is None else [f"--since={arguments.since}"]
    words += [f"{PREFIX}EVENT={event}" for event in _ACTS] if arguments.acts else []
    return words + [f"{PREFIX}FINDING={finding}" for finding in arguments.id]
