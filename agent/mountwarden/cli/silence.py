"""mountwarden silence: take a finding out of exit codes, alerts and actions for a while."""

import re
import sys
import time
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from .. import durations
from ..config.schema import Silence
from ..errors import MountwardenError
from ..escape import printable, timestamp
from ..output import report_file
from ..state import silences
from ..state.run_directory import RunDirectory
from ..systemd import journal_reader
from . import finding_ids, options
from . import source as sources

if TYPE_CHECKING:
    from argparse import _SubParsersAction

DAY = 86400.0
_ID = re.compile(r"mw-[0-9a-f]{1,10}")

_EPILOG = """\
A silenced finding is still shown by --all and in JSON. Ids change at a boot, and so a silence by id ends there. For
longer, put it into mountwarden.toml, by unit, root or kind:

  [[silence]]
  unit = "leaky.service"
  reason = "known, replaced in May"
  until = 2027-05-31

examples:
  mountwarden silence mw-0123456789 --for 7d --reason 'known, fixed by the next release'
  mountwarden silence --list
  mountwarden silence --end mw-0123456789
"""


def register(subparsers: "_SubParsersAction[options.Parser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "silence",
        help="take a finding out of exit codes, alerts and actions for a while",
        description="Silences a finding for a while.",
        epilog=_EPILOG,
        tier=False,
    )
    parser.add_argument("id", metavar="ID", nargs="?", help="the finding")
    parser.add_argument(
        "--for",
        dest="seconds",
        metavar="TIME",
        type=options.duration(durations.parse("10y")),
        default=DAY,
        help="default: 1d",
    )
    parser.add_argument("--reason", metavar="TEXT", help="why; required")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--list", action="store_true", help="show the silences that were made by this command")
    group.add_argument("--end", action="store_true", help="end the silence of ID")
    parser.set_defaults(run=run)


def run(arguments: Namespace) -> int:
    """Add, end or list silences. Raises: MountwardenError; OSError."""
    from . import session

    directory, now = RunDirectory(), time.time()
    kept = [one for one in silences.read(directory) if (one.until or 0) > now]
    if arguments.list:
        return _show(kept, arguments)
    session.need_root("mountwarden silence")
    one = _asked_for(arguments, now, [silence.id for silence in kept if silence.id])
    others = [other for other in kept if other.id != one.id]
    if arguments.end and len(others) == len(kept):
        raise MountwardenError(f"{one.id} is not silenced by this command", hint="mountwarden silence --list")
    kept = others if arguments.end else [*others, one]
    silences.write(directory, kept, now)
    return _show(kept if arguments.json else [] if arguments.end else [one], arguments, ended=arguments.end)


def _asked_for(arguments: Namespace, now: float, kept: list[str]) -> Silence:
    if arguments.id is None or not _ID.fullmatch(arguments.id):
        raise MountwardenError("silence needs the ID of a finding", hint="mountwarden report shows the ids")
    if not arguments.end and not arguments.reason:
        raise MountwardenError("silence needs --reason TEXT", hint="whoever finds it silenced will ask")
    known = kept if arguments.end else _known(arguments)
    (name,) = finding_ids.resolved([arguments.id], known)
    if not arguments.end and name not in known and not journal_reader.of_finding(name):
        raise finding_ids.unknown(name, known)
    return Silence(arguments.reason or "", now + arguments.seconds, name)


def _known(arguments: Namespace) -> list[str]:
    document = sources.answer(arguments, lambda source: source.report(wait=0.0))
    return [finding["id"] for finding in document["findings"]]


def _show(kept: list[Silence], arguments: Namespace, *, ended: bool = False) -> int:
    if arguments.json:
        sys.stdout.write(report_file.dumps({"silences": [_json(one) for one in kept]}))
    elif ended:
        print(f"{arguments.id} is no longer silenced")
    else:
        for one in kept:
            print(f"{one.id} silenced until {timestamp(one.until or 0)}: {printable(one.reason)}")
        if not kept:
            print("no silences")
    return 0


def _json(one: Silence) -> dict[str, Any]:
    return {"id": one.id, "until": timestamp(one.until or 0), "reason": printable(one.reason)}
