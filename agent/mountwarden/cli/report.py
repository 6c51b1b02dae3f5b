"""mountwarden report: what is wrong on this host, now."""

import os
import sys
import time
from argparse import Namespace
from typing import TYPE_CHECKING

from ..escape import seconds
from ..model import Severity
from ..output import report_file, report_text, terminal
from ..output.columns import age
from ..report import build, types
from . import options, service_report

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
  mountwarden -H node7 report
"""


def register(subparsers: "_SubParsersAction[options.Parser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "report",
        help="what is wrong on this host, now (the default command)",
        description="Scans every mount namespace of the host now. Where something is found, scans again after the\n"
        "confirm time; the service need not run. Where it does, adds the findings that only the service\n"
        "can know, as far as they still hold. Without root, shows the service's last report.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("--all", action="store_true", help="info and silenced findings too, long groups in full")
    options.severity(parser)
    parser.add_argument("--strict", action="store_true", help="exit status 2 where anything could not be read")
    parser.add_argument(
        "--npd", action="store_true", help="one line from the service's last report, for node-problem-detector"
    )
    options.waiting(parser)
    options.snapshot(parser)
    options.host(parser)
    options.filters(parser)
    parser.set_defaults(run=run)


def run(arguments: Namespace) -> int:
    """Show the report; the exit status says what is in it."""
    if arguments.npd:
        from . import npd

        return npd.run(arguments)
    if arguments.host is not None:
        from . import remote

        with remote.understood(arguments.host):
            return _shown(arguments, remote.report(arguments.host), f"the report of the service of {arguments.host}")
    if arguments.snapshot is not None:
        document, note = stored_elsewhere(arguments.snapshot)
    elif os.geteuid() == 0:
        document, note = live(arguments), None
    else:
        document = service_report.last()
        note = f"the service's report of {age(time.time() - seconds(document['taken']))} ago; a scan now needs root"
    return _shown(arguments, document, note)


def _shown(arguments: Namespace, document: types.ReportJson, note: str | None) -> int:
    screen = terminal.of(sys.stdout, no_color=arguments.no_color)
    document = build.select(document, service_report.wanted(arguments))
    if arguments.json:
        sys.stdout.write(report_file.dumps(document))
    else:
        sys.stdout.write(report_text.render(document, report_text.View(screen, time.time(), arguments.all, note)))
    return build.status(document, Severity(arguments.fail_on), strict=arguments.strict)


def live(arguments: Namespace) -> types.ReportJson:
    """A report of a scan now."""
    from ..explain import shared_causes
    from ..report import assemble
    from . import joined, session

    scanner = session.scanner(arguments)
    found, agent = service_report.confirmed(
        arguments, scanner, everything=arguments.all or arguments.json, progress=True
    )
    findings, gaps = shared_causes.explained(found.findings, found.seen.picture)
    circumstances = session.circumstances(scanner, agent)
    facts = assemble.facts(found.seen, findings, scanner.config, gaps=gaps, circumstances=circumstances)
    return build.joined(build.build(facts), joined.alone(agent, found))


def stored_elsewhere(path: str) -> tuple[types.ReportJson, str]:
    """The report of a snapshot, and what it is."""
    from . import snapshot

    document = snapshot.report(snapshot.load(path))
    host = f"{document['host']['hostname']} (kernel {document['host']['kernel']})"
    return document, f"a snapshot of {host}, taken {document['taken']}"
