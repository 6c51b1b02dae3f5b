"""What the rules ask for beyond the picture, and the answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .enums import RecordState
from .host import Given, Match, Mount, Use
from .ownership import Ownership


@dataclass(frozen=True, slots=True)
class RecordQuestion:
    """Asks for the engine's record of one layer. The answer is a RecordState."""

    match: Match


@dataclass(frozen=True, slots=True)
class ContainerQuestion:
    """Asks whether anything lives of the container whose layer it is. The answer is a bool, or None: not known."""

    match: Match


@dataclass(frozen=True, slots=True)
class PeerGroupQuestion:
    """Asks for the master of a peer group. The answer is an int (0: none), or None where nothing shows it."""

    group: int


@dataclass(frozen=True, slots=True)
class UsersQuestion:
    """Asks which processes hold mounts that no namespace has any more. The answer is a tuple of Use."""

    ids: frozenset[int]


@dataclass(frozen=True, slots=True)
class GivenQuestion:
    """Asks who was given a mount on purpose. The answer is a Given, or None."""

    namespace: int
    point: bytes
    """Where that namespace has it."""
    mountpoint: bytes
    """Where home had it."""
    fstype: str


@dataclass(frozen=True, slots=True)
class OwnerQuestion:
    """Asks whether anybody owns a mount that home has, as its engine proves it. The answer is an Ownership."""

    home: int | None
    mount: Mount
    match: Match = field(compare=False)
    """The mount is on one spot: there is no other question about it."""


Question = RecordQuestion | ContainerQuestion | PeerGroupQuestion | UsersQuestion | GivenQuestion | OwnerQuestion


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers so far. What is missing is not known yet."""

    records: Mapping[RecordQuestion, RecordState] = field(default_factory=dict)
    masters: Mapping[PeerGroupQuestion, int | None] = field(default_factory=dict)
    users: Mapping[UsersQuestion, tuple[Use, ...]] = field(default_factory=dict)
    containers: Mapping[ContainerQuestion, bool | None] = field(default_factory=dict)
    given: Mapping[GivenQuestion, Given | None] = field(default_factory=dict)
    owners: Mapping[OwnerQuestion, Ownership] = field(default_factory=dict)

    def lacks(self, question: Question) -> bool:
        """Whether it is not answered."""
        known: tuple[Mapping[Any, Any], ...] = (
            *(self.records, self.masters, self.users),
            *(self.containers, self.given, self.owners),
        )
        return not any(question in answers for answers in known)
