"""One rule a file: from a picture to findings and to what the rule would still have to know. No I/O, no clock."""

from collections.abc import Callable
from dataclasses import dataclass, field

from ..model import Answers, Finding, Picture, Question
from . import leaked, orphaned, pinned, private_root, severed, stacked


@dataclass(frozen=True, slots=True)
class Judgement:
    """Findings, and the questions whose answers would change them."""

    findings: tuple[Finding, ...]
    wants: frozenset[Question] = field(default_factory=frozenset)


Rule = Callable[[Picture, Answers], tuple[list[Finding], set[Question]]]
RULES: tuple[Rule, ...] = (
    leaked.judge,
    severed.judge,
    private_root.judge,
    pinned.judge,
    stacked.judge,
    orphaned.judge,
)


def judge(picture: Picture, answers: Answers) -> Judgement:
    """All rules over one picture. Fetch what is wanted and judge again; findings made without it are provisional."""
    findings: list[Finding] = []
    wants: set[Question] = set()
    for rule in RULES:
        found, wanted = rule(picture, answers)
        findings += found
        wants |= wanted
    return Judgement(tuple(findings), frozenset(wants))
