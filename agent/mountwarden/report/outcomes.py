"""The outcome of an action, as JSON. Pure."""

from collections.abc import Mapping
from typing import Any

from ..escape import printable, sentence
from ..model import Action, Finding, Outcome
from ..remedies.actions import describe

UNCONFIRMED = "declined: it has not held for its confirm time, so an engine may be in the middle of unmounting it"
"""Why nothing is done about a finding that is not confirmed."""


def as_json(outcome: Outcome) -> dict[str, object]:
    """One outcome."""
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


def not_begun(finding_id: str, action: Action, code: str, text: str, **more: object) -> Mapping[str, Any]:
    """The same of an action that was not begun, as `code` and `text` say."""
    nothing = dict.fromkeys(("saw", "did", "verified"))
    about = {"finding_id": finding_id, "action": str(action), "done": False, "code": code, "text": text}
    return {**about, **nothing, **more}


def dry_run(finding: Finding, action: Action) -> Mapping[str, Any]:
    """What would be done, step by step."""
    steps = [sentence(step) for step in describe(finding, action)]
    text = f"would {action} {printable(finding.mountpoint)}"
    return not_begun(finding.id, action, "dry-run", text, steps=steps)
