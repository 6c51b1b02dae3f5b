"""What detach and share have in common: choose findings, describe or do, one line each."""

import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from ..errors import MountwardenError
from ..model import Action, Finding, Outcome
from ..tell import stored, terminal
from ..tell.text import count, sentence, shown
from . import scan, session

if TYPE_CHECKING:
    from ..look import Looker


def looked(arguments: Namespace, action: Action) -> scan.Scan:
    """A scan for an act, which needs root."""
    session.need_root(f"mountwarden {action}")
    looker = session.looker(arguments)
    known = scan.agents_since(looker.config, looker.boot_id)
    return scan.scan(looker, wait=arguments.wait, known=known)


def unconfirmed(finding: Finding, action: Action) -> Outcome | None:
    """The refusal of a finding that has not held for its confirm time."""
    if finding.confirmed:
        return None
    text = "declined: it has not held for its confirm time, so an engine may be at work on it"
    return Outcome(finding, action, False, "unconfirmed", text)


def missing(finding_id: str) -> str:
    """The line of an id that no finding has now."""
    return f"{shown(finding_id)}: declined: there is no such finding now"


def describe(findings: Iterable[Finding], action: Action, *, json: bool) -> int:
    """--dry-run: what would be done, step by step."""
    from ..remedies import apply

    told = {f.id: [sentence(step.describe()) for step in apply.describe(f, action)] for f in findings}
    if json:
        sys.stdout.write(stored.dumps({"dry_run": True, "action": str(action), "findings": told}))
        return 0
    for finding in findings:
        print(f"{finding.id}: would {action} {shown(finding.mountpoint)}")
        for number, step in enumerate(told[finding.id], 1):
            print(f"  {number}. {step}")
    if not told:
        print(f"nothing to {action}")
    return 0


def carry_out(
    findings: Sequence[Finding],
    looker: "Looker",
    action: Action,
    *,
    json: bool,
    no_color: bool,
    absent: Sequence[str] = (),
) -> int:
    """Do it, and print each outcome as it comes. 0 when all were done, 1 when some were not."""
    from ..remedies import apply
    from . import audit

    screen = terminal.of(sys.stdout, no_color=no_color)
    outcomes: list[Outcome] = []
    for finding in findings:
        outcome = (
            unconfirmed(finding, action)
            or _together(finding, outcomes, action)
            or apply.carry_out(finding, looker, action)
        )
        outcomes.append(outcome)
        audit.tell(outcome)
        if not json:
            print(line(outcome, screen), flush=True)
    if json:
        sys.stdout.write(stored.dumps({"outcomes": [as_json(outcome) for outcome in outcomes], "absent": list(absent)}))
    else:
        for finding_id in absent:
            print(missing(finding_id))
        if not outcomes and not absent:
            print(f"nothing to {action}")
    return 0 if not absent and all(outcome.done for outcome in outcomes) else 1


def _together(finding: Finding, outcomes: Sequence[Outcome], action: Action) -> Outcome | None:
    """What an earlier act has ended already: one act ends, and verifies, the copies of a spot in all namespaces."""
    for earlier in outcomes:
        if earlier.done and finding.spot is not None and earlier.finding.spot == finding.spot:
            text = f"done together with {earlier.finding.id}"
            return Outcome(finding, action, True, "together", text, verified=earlier.verified)
    return None


def line(outcome: Outcome, screen: terminal.Terminal) -> str:
    """One outcome as a line."""
    sign = screen.paint(screen.glyph("✓"), "green") if outcome.done else screen.paint(screen.glyph("✗"), "red")
    return f"{sign} {outcome.finding.id} {shown(outcome.finding.mountpoint)}: {sentence(outcome.text)}"


def as_json(outcome: Outcome) -> dict[str, object]:
    """One outcome for programs."""
    return {
        "finding_id": outcome.finding.id,
        "action": str(outcome.action),
        "done": outcome.done,
        "code": outcome.code,
        "text": sentence(outcome.text),
        "saw": sentence(outcome.saw) or None,
        "did": sentence(outcome.did) or None,
        "verified": sentence(outcome.verified) or None,
    }


def consent(findings: Sequence[Finding], action: Action, *, yes: bool, ask: Callable[[str], str] = input) -> bool:
    """Whether to go on with all of them: asked on a terminal, else `--yes` is needed (MountwardenError without)."""
    if yes or not findings:
        return True
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise MountwardenError(f"{action} --all needs --yes where there is no terminal to ask on")
    for finding in findings:
        print(f"{finding.id} {shown(finding.mountpoint)}")
    try:
        answer = ask(f"{action} {count(len(findings), 'finding')}? [y/N] ")
    except EOFError:
        answer = ""
    return answer.strip().lower() in ("y", "yes")
