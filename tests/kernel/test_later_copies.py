"""What comes after home's umount, on each tier: copies of copies, other places, namespaces with a known inode."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from mountwarden.kernel import syscalls
from mountwarden.model import Evidence, Kind, Tier
from mountwarden.observe import namespaces
from mountwarden.scan.part import Part

from tests.kernel.test_targeted import scanning
from tests.kernel.test_turns import MERGED, Watched, in_processes
from tests.kernel.topology import ROOT
from tests.support import tiers
from tests.support.clock import Clock
from tests.support.scratch_ns import hold, overlay

_TEXT, *_OTHERS = reversed(tiers.available())
each_tier = pytest.mark.parametrize("used", [_TEXT, *(pytest.param(one, marks=pytest.mark.long) for one in _OTHERS)])
AGAIN = Part(allowance=10.0, again=True)


@dataclass
class Service:
    """A scanner that has seen home with the layer, and where the copies of the one leak are by it."""

    scanner: Watched
    clock: Clock

    def copies(self, part: Part = AGAIN) -> set[tuple[int, bytes]]:
        scan, _reads = self.scanner.next(part=part)
        leaks = [one for one in scan.findings if one.kind is Kind.LEAKED]
        assert {one.evidence for one in leaks} <= {Evidence.HISTORY}
        return {(copy.namespace, copy.mount.point) for one in leaks if one.target for copy in one.target.leaked}

    def later(self, seconds: float = namespaces.SETUP) -> set[tuple[int, bytes]]:
        """After a scan at once, that of so many seconds later."""
        self.copies(Part())
        self.clock.forward(seconds + 0.05)
        return self.copies(Part(10.0))


@contextlib.contextmanager
def service(used: Tier) -> Iterator[Service]:
    clock = Clock()
    with scanning(used) as scanner:
        overlay(ROOT + b"/X")
        scanner.next(part=Part())
        yield Service(scanner, clock)


@each_tier
def test_what_was_read_of_a_namespace_is_not_of_the_next_one_with_its_inode(used: Tier) -> None:
    def judge() -> bool:
        with service(used) as one, hold(propagation="private") as keeps, hold(propagation="private") as first:
            one.later()
            inode = first.inode
            syscalls.umount(MERGED)
            one.copies(Part())
            first.kill()
            with hold() as second:
                assert one.copies(Part()) <= {(keeps.inode, MERGED)}
                return second.inode == inode

    assert any(in_processes(judge) for _ in range(10)), "inodes are reused at once"
