"""What one scan found."""

from dataclasses import dataclass, field

from ..model import Answers, Finding, Gap, Missed, Picture, SuperblockTest, Tier
from ..observe.budgets import Budgets
from ..observe.superblocks import Superblocks


@dataclass(frozen=True, slots=True)
class Scan:
    """What one scan found. Findings are attributed but not confirmed: the ledger does that."""

    picture: Picture
    findings: tuple[Finding, ...]
    gaps: tuple[Gap, ...]
    started: float
    """Seconds since the Epoch."""
    seconds: float
    tier: Tier
    tier_reason: str
    answers: Answers = field(default_factory=Answers)
    """What the judge asked beside the picture, and was answered."""
    missed: tuple[Missed, ...] = ()
    owes: bool = False
    """Whether the time was up before all namespaces were read."""
    budgets: Budgets | None = field(default=None, compare=False, repr=False)
    """To which is charged what is read because of this scan."""
    unbound: frozenset[int] = frozenset()
    """Inodes of namespaces with much to read, of which nothing but the copies of `picture` has to do with a root."""
    superblocks: Superblocks | None = field(default=None, compare=False, repr=False)
    """By which is asked whether a superblock lives."""

    @property
    def superblock_test(self) -> tuple[SuperblockTest, str]:
        """What says whether a superblock lives, and why that. It is tried by the first who wants to know."""
        return (self.superblocks.way, self.superblocks.why) if self.superblocks else (SuperblockTest.NONE, "")

    @property
    def complete(self) -> bool:
        """Nothing was left unread."""
        return not self.gaps
