"""What came of many topologies, as a table."""

import statistics
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.support.prove.features import Feature
from tests.support.prove.judge import Outcome
from tests.support.prove.steps import Act, Kind, Scenario

_MANY = 5_000
"""Topologies among which each feature should be."""


@dataclass
class Tally:
    """Outcomes, counted. Those of several workers can be added."""

    distinct: set[int] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    namespaces: Counter[int] = field(default_factory=Counter)
    steps: Counter[int] = field(default_factory=Counter)
    times: Counter[Kind] = field(default_factory=Counter)
    """How often each kind of step was done, and in how many topologies."""
    topologies: Counter[Kind] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    kinds: Counter[tuple[Feature, str]] = field(default_factory=Counter)
    """Topologies that have something, by act."""
    wrong: Counter[Feature] = field(default_factory=Counter)
    """Those of them that were mispredicted."""

    def note(self, scenario: Scenario, outcome: Outcome) -> None:
        """Count one."""
        self.distinct.add(hash(scenario))
        self.problems += [outcome.problem] if outcome.problem else []
        self.answers[outcome.act, outcome.answer] += 1
        self.namespaces[outcome.namespaces] += 1
        self.steps[sum(outcome.used.values())] += 1
        self.times += outcome.used
        self.topologies += Counter(outcome.used.keys())
        self.kinds += Counter((feature, outcome.act) for feature in outcome.features)
        self.wrong += Counter(outcome.features if outcome.problem else ())
        self.counts += Counter(
            tried=1,
            survivor=outcome.survivor,
            reached=bool(outcome.reached),
            slid=bool(outcome.moved),
            refused=outcome.refused,
            locked=outcome.locked,
            asked=outcome.asked,
            unknown=outcome.unknown,
            doubtful=outcome.doubtful,
        )

    def add(self, other: "Tally") -> None:
        """Add another's counts."""
        self.distinct |= other.distinct
        self.problems += other.problems
        for mine, theirs in (
            (self.answers, other.answers),
            (self.namespaces, other.namespaces),
            (self.steps, other.steps),
            (self.times, other.times),
            (self.topologies, other.topologies),
            (self.counts, other.counts),
            (self.kinds, other.kinds),
            (self.wrong, other.wrong),
        ):
            mine.update(theirs)  # type: ignore[attr-defined]

    @property
    def tried(self) -> int:
        """How many topologies there were."""
        return self.counts["tried"]

    @property
    def survivors(self) -> float:
        """The share of topologies in which a copy stays."""
        return self.counts["survivor"] / self.tried

    @property
    def median_steps(self) -> float:
        """Steps that were done; what the kernel refused does not count."""
        return statistics.median(self.steps.elements())

    def shortcomings(self) -> Iterator[str]:
        """What the topologies should have been and were not, and each misprediction."""
        yield from self.problems
        if min(self.namespaces) < 3:
            yield f"a topology has only {min(self.namespaces)} namespaces"
        if self.median_steps < 8:
            yield f"the median is {self.median_steps} steps"
        if self.survivors < 0.3:
            yield f"only {self.survivors:.0%} have a surviving copy"
        if self.counts["doubtful"] > self.tried / 1000:
            yield f"in {self.counts['doubtful']} topologies wrongly inferred locks would matter"
        if unused := [kind for kind in Kind if not self.times[kind]]:
            yield f"never used: {', '.join(unused)}"
        unseen = [feature for feature in Feature if not any(self.kinds[feature, act] for act in Act)]
        if unseen and self.tried >= _MANY:
            yield f"never had: {', '.join(unseen)}"

    def table(self) -> str:
        """The figures in Markdown."""
        counts = self.counts
        spread = (
            f"{min(self.namespaces)} to {max(self.namespaces)} namespaces; {self.median_steps:g} steps in the median"
        )
        reach = f"{counts['reached']:,} where the action reached a copy"
        slid = f"{counts['slid']:,} where an overmount slid down"
        asked = f"{counts['locked']:,} inferred; of {counts['asked']:,} that the kernel was asked about"
        matter = f"in {counts['doubtful']:,} topologies that would change the prediction of an umount"
        lines = [
            f"- {self.tried:,} topologies ({len(self.distinct):,} distinct), {len(self.problems)} mispredicted",
            f"- {spread}, and {counts['refused']:,} that the kernel refused",
            f"- {self.survivors:.0%} with a surviving copy, {reach}, {slid}",
            f"- locked mounts: {asked}, {counts['unknown']:,} were inferred wrongly; {matter}",
            "",
            *self._answers(),
            "",
            *self._steps(),
            "",
            *self._kinds(),
        ]
        return "\n".join(lines)

    def _answers(self) -> Iterator[str]:
        yield "| action | answer | topologies |"
        yield "|---|---|---:|"
        yield from (f"| {act} | {answer} | {many:,} |" for (act, answer), many in sorted(self.answers.items()))

    def _steps(self) -> Iterator[str]:
        yield "| step | times | topologies |"
        yield "|---|---:|---:|"
        yield from (f"| {kind} | {self.times[kind]:,} | {self.topologies[kind]:,} |" for kind in Kind)

    def _kinds(self) -> Iterator[str]:
        yield f"| topologies with | {' | '.join(Act)} | result |"
        yield f"|---|{'---:|' * len(Act)}---|"
        for feature in Feature:
            tried = " | ".join(f"{self.kinds[feature, act]:,}" for act in Act)
            wrong = self.wrong[feature]
            yield f"| {feature} | {tried} | {f'{wrong:,} mispredicted' if wrong else 'as predicted'} |"
