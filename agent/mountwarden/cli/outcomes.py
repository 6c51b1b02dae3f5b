"""What came of an action, line by line as it comes, or as JSON."""

import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from ..output import report_file, terminal
from ..report.outcomes import OutcomeJson
from .source import AnswerSource, Order


def carry_out(
    source: AnswerSource, order: Order, arguments: Namespace, *, absent: Mapping[str, str] = MappingProxyType({})
) -> int:
    """Do it, and print each outcome as it comes. 0 when all were done, 1 when some were not.

    `absent` has, by id, the line of what is declined since there is no such finding. Raises: BrokenPipeError
    afterwards, where nothing could be printed any more, so that no more was begun.
    """
    outcomes, broken = [], list[BrokenPipeError]()
    screen = terminal.of(sys.stdout, no_color=arguments.no_color)
    for outcome in source.act(order, lambda: not broken) if order.ids else ():
        outcomes.append(outcome)
        try:
            if not arguments.json and not broken:
                print("\n".join([line(outcome, screen), *_next(outcome, screen)]), flush=True)
        except BrokenPipeError as error:
            broken.append(error)
    if broken:
        raise broken[0]
    _rest(outcomes, order, absent, json=arguments.json)
    return 0 if not absent and all(outcome["done"] for outcome in outcomes) else 1


def _rest(outcomes: list[OutcomeJson], order: Order, absent: Mapping[str, str], *, json: bool) -> None:
    if json:
        sys.stdout.write(report_file.dumps({"outcomes": outcomes, "absent": list(absent)}))
        return
    for why in absent.values():
        print(why)
    if not outcomes and not absent:
        print(f"nothing to {order.action}")


def describe(source: AnswerSource, order: Order, arguments: Namespace, absent: Mapping[str, str]) -> int:
    """--dry-run: what would be done, step by step. 1 where something is absent."""
    would = list(source.act(order, lambda: True)) if order.ids else []
    if arguments.json:
        steps = {one["finding_id"]: one["steps"] for one in would}
        sys.stdout.write(report_file.dumps({"dry_run": True, "action": str(order.action), "findings": steps}))
        return 1 if absent else 0
    for one in would:
        print(f"{one['finding_id']}: would {one['action']} {one['mountpoint']}")
        for number, step in enumerate(one["steps"] or [], 1):
            print(f"  {number}. {step}")
    _rest(would, order, absent, json=False)
    return 1 if absent else 0


def line(outcome: OutcomeJson, screen: terminal.Terminal) -> str:
    """One outcome as a line."""
    sign = screen.paint(screen.glyph("✓"), "green") if outcome["done"] else screen.paint(screen.glyph("✗"), "red")
    where = f" {outcome['mountpoint']}" if outcome["mountpoint"] is not None else ""
    return f"{sign} {outcome['finding_id']}{where}: {outcome['text']}"


def _next(outcome: OutcomeJson, screen: terminal.Terminal) -> Iterator[str]:
    """What to run next, or to do."""
    if outcome["next"]:
        yield f"  {screen.glyph('→')} {screen.paint(outcome['next'], 'bold')}"
