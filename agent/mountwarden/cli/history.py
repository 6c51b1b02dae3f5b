"""mountwarden history: what was found, done and ended, from the journal."""

import json
import subprocess
import sys
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from ..errors import MountwardenError
from ..tell import stored
from ..tell.journal import IDENTIFIER
from ..tell.messages import PREFIX
from ..tell.report import timestamp
from ..tell.text import shown
from . import options

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_DEADLINE = 60.0
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
        description="Shows the service's entries of the journal, oldest first; only those that root wrote.",
        epilog=_EPILOG,
        tier=False,
    )
    parser.add_argument("id", metavar="ID", nargs="*", help="of these findings (default: all)")
    parser.add_argument("--acts", action="store_true", help="only what was done, declined or failed")
    parser.add_argument("--since", metavar="WHEN", help="as journalctl takes it (default: this boot)")
    parser.set_defaults(run=run)


def run(arguments: Namespace) -> int:
    """Ask the journal and show what it has."""
    entries = [_entry(json.loads(line)) for line in _journal(arguments).splitlines() if line.startswith("{")]
    if arguments.json:
        sys.stdout.write(stored.dumps({"history": entries}))
    else:
        for entry in entries:
            print(f"{entry['at']} {shown(entry['event'] or '-'):10} {shown(entry['message'])}")
    return 0


def _journal(arguments: Namespace) -> str:
    # journald alone sets _UID; anybody may write an entry that looks like ours.
    command = [
        "journalctl",
        "--no-pager",
        "--quiet",
        "--all",
        "--output=json",
        "_UID=0",
        f"SYSLOG_IDENTIFIER={IDENTIFIER}",
    ]
    command += ["--boot"] if arguments.since is None else [f"--since={arguments.since}"]
    command += [f"{PREFIX}EVENT={event}" for event in _ACTS] if arguments.acts else []
    command += [f"{PREFIX}FINDING={finding}" for finding in arguments.id]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_DEADLINE, check=False, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise MountwardenError("there is no journalctl here", hint="history reads systemd's journal") from None
    except subprocess.TimeoutExpired:
        raise MountwardenError(f"the journal gave no answer within {_DEADLINE:g} s") from None
    if done.returncode and not done.stdout:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        if said:
            raise MountwardenError(
                f"journalctl: {shown(said[0])}", hint="reading it needs root or the group systemd-journal"
            )
    return done.stdout.decode(errors="replace")


def _entry(fields: dict[str, Any]) -> dict[str, Any]:
    """One entry: the time, the well-known fields, and all of ours by their lower-case names."""
    own = {name.removeprefix(PREFIX).lower(): _text(value) for name, value in fields.items() if name.startswith(PREFIX)}
    return {
        "at": timestamp(int(fields["__REALTIME_TIMESTAMP"]) / 1e6),
        "event": own.pop("event", None),
        "message": _text(fields.get("MESSAGE", "")),
        "unit": _text(fields["UNIT"]) if "UNIT" in fields else None,
        **dict(sorted(own.items())),
    }


def _text(value: object) -> str:
    """journalctl gives bytes that are no UTF-8 as a list of numbers, and a repeated field as a list of values."""
    if isinstance(value, list):
        return (
            bytes(value).decode("utf-8", "surrogateescape")
            if all(type(n) is int for n in value)
            else " ".join(map(_text, value))
        )
    return str(value)
