"""The outcome of an action, as JSON. Pure."""

from collections.abc import Iterable
from typing import TypedDict

from ..config.schema import Config
from ..escape import printable, sentence
from ..model import Action, Finding, Outcome
from ..remedies.actions import describe
from ..remedies.plan import after
from ..remedies.steps import overruling

UNCONFIRMED = "declined: it has not held for its confirm time, so an engine may be in the middle of unmounting it"
"""Why nothing is done about a finding that is not confirmed."""
NOT_REACHED = "not-reached"
"""The code of what the service had no more time for."""


class OutcomeJson(TypedDict):
    """What came of an action; `steps` of one that was only asked about are what it would do, else null.

    `mountpoint` is null where there is no such finding; `next` is the command to try next, or what else to do.
    """

    finding_id: str
    mountpoint: str | None
    action: str
    done: bool
    code: str
    text: str
    saw: str | None
    did: str | None
    verified: str | None
    steps: list[str] | None
    next: str | None


def as_json(outcome: Outcome, config: Config) -> OutcomeJson:
    """One outcome."""
    return {
        "finding_id": outcome.finding.id,
        "mountpoint": printable(outcome.finding.mountpoint),
        "action": str(outcome.action),
        "done": outcome.done,
        "code": outcome.code,
        "text": sentence(outcome.text),
        "saw": sentence(outcome.saw) or None,
        "did": sentence(outcome.did) or None,
        "verified": sentence(outcome.verified) or None,
        "steps": None,
        "next": _next(outcome, config),
    }


def _next(outcome: Outcome, config: Config) -> str | None:
    """What to try where this one was declined or failed; None where there is nothing to do any more."""
    if outcome.unread:
        return overruling(outcome.finding, outcome.action, outcome.unread)
    nothing = outcome.done or outcome.code in ("gone", "unconfirmed", "unverified")
    remedy = None if nothing else after(outcome.finding, outcome.action, config)
    return None if remedy is None else remedy.command or f"{remedy.action}: {sentence(remedy.reason)}"


def not_begun(
    finding_id: str, action: Action, code: str, text: str, *, at: bytes | None = None, steps: list[str] | None = None
) -> OutcomeJson:
    """The same of an action that was not begun, as `code` and `text` say; `at` is the finding's mountpoint."""
    return {
        "finding_id": finding_id,
        "mountpoint": None if at is None else printable(at),
        "action": str(action),
        "done": False,
        "code": code,
        "text": text,
        "saw": None,
        "did": None,
        "verified": None,
        "steps": steps,
        "next": None,
    }


def dry_run(finding: Finding, action: Action, unread: Iterable[str] = ()) -> OutcomeJson:
    """What would be done, step by step; last, what is to be said of namespaces that could not be read."""
    steps = [sentence(step) for step in (*describe(finding, action), *unread)]
    text = f"would {action} {printable(finding.mountpoint)}"
    return not_begun(finding.id, action, "dry-run", text, at=finding.mountpoint, steps=steps)
