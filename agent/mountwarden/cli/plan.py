"""mountwarden plan: what would be done about every finding, by whom and why."""

import sys
from argparse import Namespace
from typing import TYPE_CHECKING

from ..model import Action, Finding, Severity
from ..shown import sentence, shown
from ..tell import stored, words
from . import options

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def register(subparsers: "_SubParsersAction[options.Parser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "plan",
        help="what would be done about each finding, step by step",
        description="Looks now and shows each finding's remedies with their steps. Changes nothing.",
    )
    parser.add_argument("id", metavar="ID", nargs="*", help="these findings (default: all)")
    options.waiting(parser)
    parser.set_defaults(run=run)


def run(arguments: Namespace) -> int:
    """Show the plan."""
    from ..remedies.plan import plan
    from . import agents, scan, session

    session.need_root("mountwarden plan")
    looker = session.looker(arguments)
    found = scan.scan(looker, wait=arguments.wait, known=agents.read(looker.boot_id).since())
    agent = agents.read(looker.boot_id)
    circumstances = session.circumstances(looker, agent)
    chosen = [
        plan(finding, looker.config, circumstances)
        for finding in agent.as_known(found.findings)
        if (finding.id in arguments.id if arguments.id else finding.severity is not Severity.INFO)
    ]
    told = [_planned(finding) for finding in chosen]
    if arguments.json:
        sys.stdout.write(stored.dumps({"plan": told}))
    else:
        print("\n\n".join("\n".join(_lines(finding)) for finding in chosen) or "nothing to do")
    return 0


def _planned(finding: Finding) -> dict[str, object]:
    return {
        "id": finding.id,
        "remedies": [
            {
                "action": str(remedy.action),
                "automatic": remedy.automatic,
                "reason": sentence(remedy.reason),
                "command": remedy.command,
                "steps": _steps(finding, remedy.action),
            }
            for remedy in finding.remedies
        ],
    }


def _lines(finding: Finding) -> list[str]:
    lines = [f"{finding.id} {finding.kind} {shown(finding.mountpoint)}"]
    for remedy in finding.remedies:
        who = "by the service itself" if remedy.automatic else "left to you"
        lines.append(f"  {remedy.action}, {who}: {sentence(remedy.reason)}")
        lines += [f"    {number}. {step}" for number, step in enumerate(_steps(finding, remedy.action), 1)]
        lines += [f"    $ {remedy.command}"] if remedy.command else []
    return lines if finding.remedies else [*lines, f"  {words.by_hand(finding.kind)}"]


def _steps(finding: Finding, action: Action) -> list[str]:
    from ..remedies import apply

    return [sentence(step.describe()) for step in apply.describe(finding, action)]
