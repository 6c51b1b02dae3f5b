"""mountwarden pause and resume: stop the service's actions, and let them go on."""

import sys
import time
from argparse import Namespace
from typing import TYPE_CHECKING

from .. import durations
from ..escape import printable, timestamp
from ..output import report_file
from ..service.status import paused
from ..state import pause
from ..state.run_directory import RunDirectory
from . import options

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_PAUSE = """\
The service goes on scanning and reporting. It takes no action from the next tick on; one that is under way ends first.
A pause never outlives a boot. The commands detach and share are an operator's own, and work all the same.

examples:
  mountwarden pause --for 2h --reason 'storage migration'
"""


def register(subparsers: "_SubParsersAction[options.Parser]") -> None:
    """Add both commands to the parser."""
    parser = subparsers.add_parser(
        "pause", help="let the service take no action for a while", description=_PAUSE.split("\n\n")[0],
        epilog=_PAUSE.split("\n\n")[1], tier=False,
    )  # fmt: skip
    parser.add_argument(
        "--for",
        dest="seconds",
        metavar="TIME",
        type=options.duration(durations.parse("10y")),
        help="so long (default: until resume)",
    )
    parser.add_argument("--reason", metavar="TEXT", default="", help="shown by status and report, and in the journal")
    parser.set_defaults(run=run_pause)
    resume = subparsers.add_parser(
        "resume", help="end a pause", description="Lets the service take actions again.", tier=False
    )
    resume.set_defaults(run=run_resume)


def run_pause(arguments: Namespace) -> int:
    """Write the pause. Raises: MountwardenError without root; OSError."""
    from . import session

    session.need_root("mountwarden pause")
    now = time.time()
    until = None if arguments.seconds is None else now + arguments.seconds
    begun = pause.Pause(now, until, arguments.reason)
    pause.write(RunDirectory(), begun)
    if arguments.json:
        sys.stdout.write(report_file.dumps({"paused": paused(begun)}))
    else:
        print("paused until " + (timestamp(until) if until is not None else "`mountwarden resume` or the next boot"))
    return 0


def run_resume(arguments: Namespace) -> int:
    """Remove the pause. Raises: MountwardenError without root; OSError."""
    from . import session

    session.need_root("mountwarden resume")
    ended = pause.end(RunDirectory())
    if arguments.json:
        sys.stdout.write(report_file.dumps({"paused": None, "was": paused(ended)}))
    elif ended is None:
        print("it was not paused")
    else:
        print("resumed" + (f"; the pause was for: {printable(ended.reason)}" if ended.reason else ""))
    return 0
