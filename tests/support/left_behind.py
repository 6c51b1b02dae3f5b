"""A stand-in for an engine that can prove who owns a mount: a file beside the mountpoint says it.

What engines themselves prove has tests of its own. Here each `[[root]]` of the configuration is such an engine's:
`owner` beside the mountpoint is the mount's owner, and none there is the proof that nobody is; where the engine is to
be down, `DOWN` is in the root.
"""

import os
from collections.abc import Iterator

import pytest
from mountwarden.engines import ownership
from mountwarden.engines.proof import Inquiry, Pairs
from mountwarden.model import OWNER_UNKNOWN, LeftBehind, Match, Owned, Ownership

DOWN = b"down"
ASKED = list[int]()
"""How many mounts were asked for, each time."""


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """With such an engine."""
    monkeypatch.setattr(ownership, "_PROOFS", (ownership._Proof(_claims, _owners),))
    ASKED.clear()
    yield
    ASKED.clear()


def owned(mountpoint: bytes, *, by: bytes = b"somebody") -> None:
    """The mount there has an owner."""
    with open(_owner(mountpoint), "wb") as file:
        file.write(by)


def let_go(mountpoint: bytes) -> None:
    """It has none any more."""
    os.unlink(_owner(mountpoint))


def _owner(mountpoint: bytes) -> bytes:
    return os.path.dirname(mountpoint) + b"/owner"


def _claims(match: Match) -> bool:
    return match.root.engine == "custom"


def _owners(_inquiry: Inquiry, pairs: Pairs) -> list[Ownership]:
    ASKED.append(len(pairs))
    return [_of(match) for match, _mount in pairs]


def _of(match: Match) -> Ownership:
    if os.path.exists(match.root.path + b"/" + DOWN):
        return OWNER_UNKNOWN
    if os.path.exists(_owner(match.mountpoint)):
        return Ownership(Owned.YES)
    name = match.layer.decode()
    return Ownership(Owned.GONE, LeftBehind.TASK, f"the engine runs, and knows nothing of {name}", f"layer {name}")
