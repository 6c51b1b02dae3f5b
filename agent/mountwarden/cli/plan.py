"""mountwarden plan: what would be done about every finding, by whom and why."""

import sys
from argparse import Namespace
from typing import TYPE_CHECKING

from ..output import phrases, report_file
from ..report.answers import PlannedJson
from . import options
from . import source as sources

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def register(subparsers: "_SubParsersAction[options.Parser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "plan",
        help="what would be done about each finding, step by step",
        description="Shows each finding's remedies with their steps. Changes nothing.",
    )
    parser.add_argument("id", metavar="ID", nargs="*", help="these findings (default: all)")
    options.host(parser)
    options.waiting(parser)
    parser.set_defaults(run=run)


def run(arguments: Namespace) -> int:
    """Show the plan."""
    planned = sources.answer(arguments, lambda source: source.plan(arguments.id, wait=arguments.wait))
    if arguments.json:
        sys.stdout.write(report_file.dumps({"plan": planned}))
    else:
        print("\n\n".join("\n".join(lines(one)) for one in planned) or "nothing to do")
    return 0


def lines(planned: PlannedJson) -> list[str]:
    """The plan of one finding as text."""
    found = [f"{planned['id']} {planned['kind']} {planned['mountpoint']}"]
    for remedy in planned["remedies"]:
        who = "by the service itself" if remedy["automatic"] else "left to you"
        found.append(f"  {remedy['action']}, {who}: {remedy['reason']}")
        found += [f"    {number}. {step}" for number, step in enumerate(remedy["steps"], 1)]
        found += [f"    $ {remedy['command']}"] if remedy["command"] else []
    return found if planned["remedies"] else [*found, f"  {phrases.by_hand(planned['kind'])}"]
