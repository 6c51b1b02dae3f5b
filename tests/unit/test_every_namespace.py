"""All namespaces for one question: the host's own first, and those of others for so long at most."""

import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from mountwarden.errors import NoAnswer
from mountwarden.model import HOST, UNKNOWN, Namespace, Owner
from mountwarden.observe import budgets, namespaces, read_ahead
from mountwarden.observe.budgets import Budgets, limits_of
from mountwarden.observe.enter import own_namespace
from mountwarden.observe.every_namespace import TOO_LONG, read_each
from mountwarden.observe.mount_lines import LinesInHand, MountLines, ReadingLimits

ALICE, POD = Owner(1000), Owner(0, "c" * 64)
SPACES = (
    Namespace(1, (11,), owner=ALICE),
    Namespace(2, (12,), owner=HOST),
    Namespace(3, (13,), owner=POD),
    Namespace(4, (14,), owner=UNKNOWN),
    Namespace(5, (15,), owner=HOST),
)


class Host:
    """Namespaces that do not exist: what reading one costs, and what it gives."""

    def __init__(self, patch: pytest.MonkeyPatch, cost: float = 0.0, **instead: Exception | None) -> None:
        self.cpu, self._cost, self._instead = 0.0, cost, instead
        self.asked: list[int] = []
        self.limits: dict[int, ReadingLimits] = {}
        patch.setattr(namespaces, "read", self._read)
        patch.setattr(read_ahead, "cpu_seconds", lambda: self.cpu)
        patch.setattr(budgets, "_cpu", lambda: self.cpu)

    def _read(self, inode: int, pids: Any, function: Callable[[MountLines], object], door: Any, limits: Any) -> object:
        assert pids == (inode + 10,)
        self.asked.append(inode)
        self.limits[inode] = limits
        self.cpu += self._cost
        if f"n{inode}" in self._instead:
            if (error := self._instead[f"n{inode}"]) is None:
                return None
            raise error
        return function(LinesInHand(b"%d" % inode))


def text(inode: int, lines: MountLines) -> tuple[int, bytes | None]:
    return inode, lines.whole()


def test_the_hosts_own_come_first_and_each_within_its_owners_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch)
    told = dict(read_each(SPACES, text))
    assert host.asked == [2, 5, 1, 3, 4]
    assert told == {inode: (inode, b"%d" % inode) for inode in host.asked}
    assert host.limits == {space.inode: limits_of(space.owner) for space in SPACES}


def test_others_are_read_together_at_most_so_long_and_the_hosts_however_long(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch, cost=0.7)
    told = dict(read_each(SPACES, text, seconds=1.0))
    assert host.asked == [2, 5, 1, 3]
    left = told.pop(4)
    assert isinstance(left, NoAnswer)
    assert left.message == TOO_LONG
    assert told == {inode: (inode, b"%d" % inode) for inode in host.asked}


def test_what_cannot_be_read_is_given_and_paid_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has ended is no answer."""
    big, hung = OSError(27, "EFBIG"), NoAnswer("it hangs")
    host = Host(monkeypatch, cost=0.7, n1=big, n2=hung, n3=None)
    told = dict(read_each(SPACES, text, seconds=1.0))
    assert host.asked == [2, 5, 1, 3]
    assert {inode: one for inode, one in told.items() if inode != 4} == {1: big, 2: hung, 5: (5, b"5")}


def test_what_others_have_is_charged_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    Host(monkeypatch, cost=0.2, n3=OSError(27, "EFBIG"))
    charged = Budgets(deadline=None)
    charged.begin(space.owner for space in SPACES)
    list(read_each(SPACES, text, budgets=charged))
    assert charged.excess == pytest.approx(3 * 0.2 - budgets.FREE)


def test_a_real_one_is_read() -> None:
    space = Namespace(own_namespace(), (os.getpid(),), owner=HOST)
    began = time.thread_time()
    ((inode, found),) = read_each([space], lambda _inode, lines: b"".join(lines.blocks()))
    with open("/proc/self/mountinfo", "rb") as file:
        assert (inode, found) == (space.inode, file.read())
    assert time.thread_time() > began
