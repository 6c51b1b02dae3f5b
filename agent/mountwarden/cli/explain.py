"""mountwarden explain: one finding in full."""

import sys
import time
from argparse import Namespace
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..errors import MountwardenError
from ..escape import printable
from ..model import Severity
from ..output import explain_text, report_file, terminal
from ..report import build, types
from . import options, service_report

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from ..scan.confirm import ConfirmedScan


def register(subparsers: "_SubParsersAction[options.Parser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "explain",
        help="one finding in full: what, who, why, and the remedies",
        description="Scans now and shows one finding in full: what, since when, who holds it and why, the timeline,\n"
        "where the chain of propagation is broken, each remedy with what it would do, and the lasting fix.\n"
        "Of a finding that is over, what the journal has. Without root, from the service's last report alone.",
        epilog="example:\n  mountwarden explain mw-0123456789",
    )
    parser.add_argument("id", metavar="ID", help="a finding's id, as report shows it")
    options.severity(parser)
    options.waiting(parser)
    options.snapshot(parser)
    parser.set_defaults(run=run)


@dataclass(frozen=True, slots=True)
class _Explained:
    report: types.ReportJson
    """With this one finding alone."""
    steps: dict[str, list[str]] = field(default_factory=dict)
    background: types.BackgroundJson | None = None


def run(arguments: Namespace) -> int:
    """Explain the finding; the exit status is the report's, of this one finding."""
    import os

    screen = terminal.of(sys.stdout, no_color=arguments.no_color)
    if arguments.snapshot is not None:
        document: _Explained | types.BackgroundJson = _stored(arguments.snapshot, arguments.id)
    else:
        document = _live(arguments) if os.geteuid() == 0 else _last(arguments.id)
    if not isinstance(document, _Explained):
        return _over(arguments, document, screen)
    finding = document.report["findings"][0]
    if arguments.json:
        sys.stdout.write(report_file.dumps({**finding, "steps": document.steps, "background": document.background}))
    else:
        facts = explain_text.Explanation(
            finding, document.steps, time.time(), document.report["taken"], document.background
        )
        sys.stdout.write(explain_text.render(facts, screen))
    return build.status(document.report, Severity(arguments.fail_on))


def _live(arguments: Namespace) -> _Explained | types.BackgroundJson:
    """The explanation; of a finding that is over, what the journal has."""
    from ..explain import shared_causes
    from ..report import assemble, background
    from . import session

    scanner = session.scanner(arguments)
    found, agent = service_report.confirmed(arguments, scanner, everything=True, progress=True)
    one = [finding for finding in found.findings if finding.id == arguments.id]
    if not one:
        return _beyond(arguments.id, agent, found)
    findings, gaps = shared_causes.explained(one, found.seen.picture, everything=True)
    around = background.background(findings[0], found.seen, agent=arguments.id in agent.since())
    circumstances = session.circumstances(scanner, agent)
    facts = assemble.facts(found.seen, findings, scanner.config, gaps=gaps, circumstances=circumstances)
    return _Explained(build.build(facts), build.steps(facts.findings[0]), around)


def _beyond(
    finding_id: str, agent: service_report.ServiceReport, found: "ConfirmedScan"
) -> _Explained | types.BackgroundJson:
    """Of a finding that the scan does not show: the service's, while it holds; else what the journal has of it."""
    from ..report import background
    from . import joined

    past, theirs = background.over(finding_id), joined.alone(agent, found)
    if agent.report and any(one["id"] == finding_id for one in theirs):
        return _Explained(build.select(agent.report, lambda one: one["id"] == finding_id), background=past)
    if past:
        return past
    raise _unknown(finding_id, [finding.id for finding in found.findings] + [one["id"] for one in theirs])


def _stored(path: str, finding_id: str) -> _Explained:
    from . import snapshot

    facts = snapshot.facts_of(snapshot.load(path), everything=True)
    one = [finding for finding in facts.findings if finding.id == finding_id]
    if not one:
        raise _unknown(finding_id, [finding.id for finding in facts.findings], path)
    return _Explained(build.build(replace(facts, findings=one)), build.steps(one[0]))


def _last(finding_id: str) -> _Explained:
    document = service_report.last()
    one = build.select(document, lambda finding: finding["id"] == finding_id)
    if not one["findings"]:
        raise _unknown(finding_id, [finding["id"] for finding in document["findings"]])
    return _Explained(one)


def _over(arguments: Namespace, document: types.BackgroundJson, screen: terminal.Terminal) -> int:
    if arguments.json:
        sys.stdout.write(report_file.dumps({"id": arguments.id, "over": True, "background": document}))
    else:
        sys.stdout.write(explain_text.render_over(arguments.id, document, screen))
    return 0


def _unknown(finding_id: str, known: list[str], path: str | None = None) -> MountwardenError:
    import difflib

    near = difflib.get_close_matches(finding_id, known, 1)
    if path is not None:
        where, other = f"in {printable(path)}", "mountwarden report --from lists what is there"
    else:
        where, other = "now", "it may be cleared already; mountwarden report lists what is there"
    hint = f"did you mean {near[0]}?" if near else other
    return MountwardenError(f"there is no finding {printable(finding_id)} {where}", hint=hint)
