"""mountwarden plan: what would be done about every finding, by whom and why."""

import sys
from argparse import Namespace
from typing import TYPE_CHECKING, TypedDict

from ..escape import printable
from ..model import Finding, Severity
from ..output import phrases, report_file
from ..report import build, types
from . import options

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def register(subparsers: "_SubParsersAction[options.Parser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "plan",
        help="what would be done about each finding, step by step",
        description="Scans now and shows each finding's remedies with their steps. Changes nothing.",
    )
    parser.add_argument("id", metavar="ID", nargs="*", help="these findings (default: all)")
    options.waiting(parser)
    parser.set_defaults(run=run)


def run(arguments: Namespace) -> int:
    """Show the plan."""
    from ..remedies.plan import plan
    from . import joined, service_report, session

    session.need_root("mountwarden plan")
    scanner = session.scanner(arguments)
    found, agent = service_report.confirmed(arguments, scanner)
    circumstances = session.circumstances(scanner, agent)

    def meant(finding_id: str, severity: str) -> bool:
        return finding_id in arguments.id if arguments.id else severity != Severity.INFO

    own = [one for one in found.findings if meant(one.id, one.severity)]
    chosen = [_planned(plan(finding, scanner.config, circumstances)) for finding in own]
    chosen += [_reported(one) for one in joined.alone(agent, found) if meant(one["id"], one["severity"])]
    if arguments.json:
        sys.stdout.write(report_file.dumps({"plan": [planned for _kind, _title, planned in chosen]}))
    else:
        print("\n\n".join("\n".join(_lines(*one)) for one in chosen) or "nothing to do")
    return 0


class _Remedy(types.RemedyJson):
    steps: list[str]


class _Planned(TypedDict):
    id: str
    remedies: list[_Remedy]


def _planned(finding: Finding) -> tuple[str, str, _Planned]:
    """The kind, the title, and each remedy with its steps."""
    steps = build.steps(finding)
    remedies: list[_Remedy] = [{**one, "steps": steps[one["action"]]} for one in build.remedies(finding)]
    title = f"{finding.id} {finding.kind} {printable(finding.mountpoint)}"
    return finding.kind, title, {"id": finding.id, "remedies": remedies}


def _reported(finding: types.FindingJson) -> tuple[str, str, _Planned]:
    """The same of a finding of the service's report, which has no steps."""
    remedies: list[_Remedy] = [{**remedy, "steps": []} for remedy in finding["remedies"]]
    title = f"{finding['id']} {finding['kind']} {finding['mountpoint']}"
    return finding["kind"], title, {"id": finding["id"], "remedies": remedies}


def _lines(kind: str, title: str, planned: _Planned) -> list[str]:
    lines = [title]
    for remedy in planned["remedies"]:
        who = "by the service itself" if remedy["automatic"] else "left to you"
        lines.append(f"  {remedy['action']}, {who}: {remedy['reason']}")
        lines += [f"    {number}. {step}" for number, step in enumerate(remedy["steps"], 1)]
        lines += [f"    $ {remedy['command']}"] if remedy["command"] else []
    return lines if planned["remedies"] else [*lines, f"  {phrases.by_hand(kind)}"]
