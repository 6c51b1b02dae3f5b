"""mountwarden report: what is wrong on this host, now."""

import os
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import MountwardenError
from ..escape import seconds, unit_name
from ..model import Severity
from ..output import report_file, report_text, terminal
from ..output.columns import age
from ..report import build as telling
from ..report import types
from ..state import run_directory
from . import options

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_EXAMPLES = """\
exit status:
  0  nothing at or above --fail-on; info, silenced and unconfirmed findings never count
  1  something
  2  could not tell: bad use, no right to look, no root that could be judged

examples:
  mountwarden report --unit leaky.service
  mountwarden report --json | jq '.findings[].mountpoint'
"""


def register(subparsers: "_SubParsersAction[options.Parser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "report",
        help="what is wrong on this host, now (the default command)",
        description="Looks at every mount namespace of the host now. Where something is found, looks again after the\n"
        "confirm time; the service need not run. Where it does, tells what it alone can\n"
        "know too, as far as that still holds. Without root, shows the service's last report.",
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
    options.filters(parser)
    parser.set_defaults(run=run)


def run(arguments: Namespace) -> int:
    """Show the report; the exit status says what is in it."""
    if arguments.npd:
        from . import npd

        return npd.run(arguments)
    screen = terminal.of(sys.stdout, no_color=arguments.no_color)
    if arguments.snapshot is not None:
        told, note = stored_elsewhere(arguments.snapshot)
    elif os.geteuid() == 0:
        told, note = live(arguments), None
    else:
        told = last()
        note = f"the service's report of {age(time.time() - seconds(told['taken']))} ago; a look now needs root"
    told = telling.select(told, wanted(arguments))
    if arguments.json:
        sys.stdout.write(report_file.dumps(told))
    else:
        sys.stdout.write(report_text.render(told, report_text.View(screen, time.time(), arguments.all, note)))
    return telling.status(told, Severity(arguments.fail_on), strict=arguments.strict)


def live(arguments: Namespace) -> types.ReportJson:
    """A report of a look now."""
    from ..report import assemble
    from ..scan import confirm
    from . import joined, service_report, session

    scanner = session.scanner(arguments)
    known = service_report.read(scanner.boot_id).since()
    everything = arguments.all or arguments.json
    found = confirm.confirmed_scan(
        scanner, wait=arguments.wait, everything=everything, known=known, waiting=scanning_again
    )
    agent = service_report.read(scanner.boot_id)
    findings, seen = assemble.explained(agent.as_known(found.findings), found.seen)
    told = telling.build(
        assemble.facts(seen, findings, scanner.config, circumstances=session.circumstances(scanner, agent))
    )
    return telling.joined(told, joined.alone(agent, found))


def stored_elsewhere(path: str) -> tuple[types.ReportJson, str]:
    """The report of a snapshot, and what it is."""
    from . import snapshot

    told = snapshot.report(snapshot.load(path))
    host = f"{told['host']['hostname']} (kernel {told['host']['kernel']})"
    return told, f"a snapshot of {host}, taken {told['taken']}"


def last(path: str = report_file.PATH, now: float | None = None) -> types.ReportJson:
    """The agent's last report, for who may not look.

    Raises: MountwardenError where there is none that can be relied on, with how to get one.
    """
    from .service_report import stale

    try:
        told = report_file.read(path)
    except FileNotFoundError:
        hint = "run it as root, or start the service: systemctl start mountwarden"
        raise MountwardenError("a look needs root, and there is no report of the service", hint=hint) from None
    except PermissionError:
        hint = f"run it as root, or become a member of the group {run_directory.READERS}"
        raise MountwardenError("a look needs root, and the service's report may not be read", hint=hint) from None
    if why := stale(told, time.time() if now is None else now):
        hint = "run it as root, or restart the service: systemctl restart mountwarden"
        raise MountwardenError(f"a look needs root, and the service's last report is stale: {why}", hint=hint)
    return told


def wanted(arguments: Namespace) -> Callable[[types.FindingJson], bool]:
    """Whether a finding is one of those that the options name."""
    unit = None if arguments.unit is None else unit_name(arguments.unit)

    def of(finding: types.FindingJson) -> bool:
        return (
            arguments.engine in (None, finding["engine"])
            and arguments.kind in (None, finding["kind"])
            and arguments.root in (None, finding["root"])
            and (unit is None or any(holder["unit"] == unit for holder in finding["holders"]))
        )

    return of


def scanning_again(seconds: float) -> None:
    """Tell a person at a terminal that a wait begins, where it takes long."""
    if sys.stderr.isatty() and seconds >= 2:
        print(f"looking again in {age(seconds)}, so that no engine at work is accused", file=sys.stderr, flush=True)
