"""mountwarden pause and resume: stop the service's acts, and let it go on."""

import sys
import time
from argparse import Namespace
from typing import TYPE_CHECKING

from .. import durations
from ..escape import printable, timestamp
from ..output import report_file
from ..service.status import paused
from ..state import pause as pausing
from ..state.run_directory import RunDirectory
from . import options

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_PAUSE = """\
The service goes on looking and telling. It stops within a tick; an act that is under way ends first.
A pause never outlives a boot. The commands detach and share are an operator's own, and work all the same.

examples:
  mountwarden pause --for 2h --reason 'storage migration'
"""


def register(subparsers: "_SubParsersAction[options.Parser]") -> None:
    """Add both commands to the parser."""
    pause = subparsers.add_parser(
        "pause", help="let the service act on nothing for a while", description=_PAUSE.split("\n\n")[0],
        epilog=_PAUSE.split("\n\n")[1], tier=False,
    )  # fmt: skip
    pause.add_argument(
        "--for",
        dest="seconds",
        metavar="TIME",
        type=options.duration(durations.parse("10y")),
        help="so long (default: until resume)",
    )
    pause.add_argument("--reason", metavar="TEXT", default="", help="shown by status and report, and in the journal")
    pause.set_defaults(run=run_pause)
    resume = subparsers.add_parser("resume", help="end a pause", description="Lets the service act again.", tier=False)
    resume.set_defaults(run=run_resume)


def run_pause(arguments: Namespace) -> int:
    """Write the pause."""
    from . import session

    session.need_root("mountwarden pause")
    now = time.time()
    until = None if arguments.seconds is None else now + arguments.seconds
    pause = pausing.Pause(now, until, arguments.reason)
    pausing.write(RunDirectory(), pause)
    if arguments.json:
        sys.stdout.write(report_file.dumps({"paused": paused(pause)}))
    else:
        print("paused until " + (timestamp(until) if until is not None else "`mountwarden resume` or the next boot"))
    return 0


def run_resume(arguments: Namespace) -> int:
    """Remove the pause."""
    from . import session

    session.need_root("mountwarden resume")
    pause = pausing.end(RunDirectory())
    if arguments.json:
        sys.stdout.write(report_file.dumps({"paused": None, "was": paused(pause)}))
    elif pause is None:
        print("it was not paused")
    else:
        print("resumed" + (f"; the pause was for: {printable(pause.reason)}" if pause.reason else ""))
    return 0
