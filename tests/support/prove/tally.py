"""What came of many topologies, as a table."""

import statistics
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.support.prove.judge import Outcome
from tests.support.prove.steps import Kind, Scenario


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

    def note(self, scenario: Scenario, outcome: Outcome) -> None:
        """Count one."""
        self.distinct.add(hash(scenario))
        self.problems += [outcome.problem] if outcome.problem else []
        self.answers[outcome.act, outcome.answer] += 1
        self.namespaces[outcome.namespaces] += 1
        self.steps[sum(outcome.used.values())] += 1
        self.times += outcome.used
        self.topologies += Counter(outcome.used.keys())
        self.counts += Counter(
            tried=1,
            survivor=outcome.survivor,
            reached=bool(outcome.reached),
            slid=bool(outcome.moved),
            refused=outcome.refused,
            locked=outcome.locked,
            asked=outcome.asked,
            unknown=outcome.unknown,
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
        if unused := [kind for kind in Kind if not self.times[kind]]:
            yield f"never used: {', '.join(unused)}"

    def table(self) -> str:
        """For people, in Markdown."""
        counts = self.counts
        lines = [
            f"{self.tried:,} topologies ({len(self.distinct):,} distinct), {len(self.problems)} mispredicted",
            f"{min(self.namespaces)} to {max(self.namespaces)} namespaces each",
            f"{self.median_steps:g} steps in the median, and {counts['refused']:,} that the kernel refused",
            f"{self.survivors:.0%} with a surviving copy",
            f"{counts['reached']:,} where propagation reached a copy, {counts['slid']:,} where an overmount slid down",
            f"locks: {counts['locked']:,} inferred, {counts['asked']:,} mounts asked of the kernel",
            f"{counts['unknown']:,} that no umount at home could reach were taken for what they are not",
            "",
            "| step | times | topologies |",
            "|---|---:|---:|",
            *(f"| {kind} | {self.times[kind]:,} | {self.topologies[kind]:,} |" for kind in Kind),
            "",
            "| act | answer | topologies |",
            "|---|---|---:|",
            *(f"| {act} | {answer} | {many:,} |" for (act, answer), many in sorted(self.answers.items())),
        ]
        return "\n".join(lines)
