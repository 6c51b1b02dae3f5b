"""The rules, one a file: from a picture to findings and to further questions. No I/O, no clock."""

from collections.abc import Callable
from dataclasses import dataclass, field

from ..model import Answers, Finding, Picture, Question
from . import abandoned, leaked, orphaned, pinned, private_root, severed, stacked


@dataclass(frozen=True, slots=True)
class Judgement:
    """Findings, and the questions whose answers may change them."""

    findings: tuple[Finding, ...]
    questions: frozenset[Question] = field(default_factory=frozenset)


Rule = Callable[[Picture, Answers], tuple[list[Finding], set[Question]]]
RULES: tuple[Rule, ...] = (
    leaked.judge,
    severed.judge,
    private_root.judge,
    pinned.judge,
    stacked.judge,
    orphaned.judge,
    abandoned.judge,
)


def judge(picture: Picture, answers: Answers) -> Judgement:
    """Apply all rules to a picture. Answer the questions and judge again: until then, findings are provisional."""
    findings: list[Finding] = []
    questions: set[Question] = set()
    for rule in RULES:
        found, asked = rule(picture, answers)
        findings += found
        questions |= asked
    return Judgement(tuple(findings), frozenset(questions))
