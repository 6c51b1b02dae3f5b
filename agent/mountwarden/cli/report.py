"""mountwarden report: what is wrong on this host, now."""

import functools
import sys
import time
from argparse import Namespace
from typing import TYPE_CHECKING

from ..model import Severity
from ..output import report_file, report_text, terminal
from ..report import build, types
from . import filters, options
from . import source as sources

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_EXAMPLES = """\
exit status:
  0  nothing at or above --fail-on; info, silenced and unconfirmed findings never count
  1  something
  2  it could not be found out: bad use, no permission to scan, no root that could be judged

examples:
  mountwarden report --unit leaky.service
  mountwarden report --json | jq '.findings[].mountpoint'
"""


def register(subparsers: "_SubParsersAction[options.Parser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "report",
        help="what is wrong on this host, now (the default command)",
        description="Asks the running service, which scans every mount namespace of the host now. Where it does not\n"
        "run, or gives no answer within 2 s, scans by itself, once more after the confirm time where\n"
        "something is found, and says so: it can't know what earlier scans have seen.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("--all", action="store_true", help="info and silenced findings too, long groups in full")
    options.severity(parser)
    parser.add_argument("--strict", action="store_true", help="exit status 2 where anything could not be read")
    parser.add_argument(
        "--npd", action="store_true", help="one line from the service's last report, for node-problem-detector"
    )
    options.host(parser)
    options.waiting(parser)
    options.snapshot(parser)
    options.filters(parser)
    parser.set_defaults(run=run)


def run(arguments: Namespace) -> int:
    """Show the report; the exit status says what is in it."""
    if arguments.npd:
        from . import npd

        return npd.run(arguments)
    screen = terminal.of(sys.stdout, no_color=arguments.no_color)
    if arguments.snapshot is not None:
        document, note = stored_elsewhere(arguments.snapshot)
    else:
        document, note = sources.answer(arguments, functools.partial(_asked, arguments))
    here = arguments.snapshot is None and arguments.host is None
    chosen = filters.of_report(arguments, document, here=here)
    whole, document = document, build.select(document, chosen.takes)
    if arguments.json:
        sys.stdout.write(report_file.dumps(document))
    else:
        hidden = report_text.listed(whole) - report_text.listed(document)
        view = report_text.View(screen, time.time(), arguments.all, note, chosen.name, hidden)
        sys.stdout.write(report_text.render(document, view))
    return build.status(document, Severity(arguments.fail_on), strict=arguments.strict)


def _asked(arguments: Namespace, source: sources.AnswerSource) -> tuple[types.ReportJson, str | None]:
    return source.report(wait=arguments.wait, everything=arguments.all or arguments.json), source.note


def stored_elsewhere(path: str) -> tuple[types.ReportJson, str | None]:
    """The report of a snapshot, and what it is."""
    from . import snapshot

    document = snapshot.report(snapshot.load(path))
    host = f"{document['host']['hostname']} (kernel {document['host']['kernel']})"
    return document, f"a snapshot of {host}, taken {document['taken']}"
