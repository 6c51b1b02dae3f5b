"""One rule a file: from a picture to findings and to what the rule would still have to know. No I/O, no clock."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..model import Finding, Picture, RecordState, RecordWant
from . import leaked, private_root

Answers = Mapping[RecordWant, RecordState]


@dataclass(frozen=True, slots=True)
class Judgement:
    """Findings, and the questions whose answers would change them."""

    findings: tuple[Finding, ...]
    wants: frozenset[RecordWant] = field(default_factory=frozenset)


Rule = Callable[[Picture, Answers], tuple[list[Finding], set[RecordWant]]]
RULES: tuple[Rule, ...] = (leaked.judge, private_root.judge)


def judge(picture: Picture, answers: Answers) -> Judgement:
    """All rules over one picture. Fetch what is wanted and judge again; findings made without it are provisional."""
    findings: list[Finding] = []
    wants: set[RecordWant] = set()
    for rule in RULES:
        found, wanted = rule(picture, answers)
        findings += found
        wants |= wanted
    return Judgement(tuple(findings), frozenset(wants))
