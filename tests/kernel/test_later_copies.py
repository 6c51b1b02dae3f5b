"""What comes after home's umount, on each tier: copies of copies, other places, namespaces with a known inode."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from mountwarden.kernel import syscalls
from mountwarden.kernel.abi import MS_BIND
from mountwarden.model import Evidence, Kind, Tier
from mountwarden.observe import namespaces
from mountwarden.scan import departures
from mountwarden.scan.part import Part

from tests.kernel.test_targeted import scanning
from tests.kernel.test_turns import MERGED, Watched, in_processes
from tests.kernel.topology import ROOT
from tests.support import tiers
from tests.support.clock import Clock
from tests.support.scratch_ns import Namespace, hold, overlay

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


@contextlib.contextmanager
def leaked(used: Tier) -> Iterator[tuple[Service, Namespace]]:
    """The service, and a namespace in which it has found the layer's copy."""
    with service(used) as one, hold(propagation="private") as space:
        one.later()
        syscalls.umount(MERGED)
        assert one.later(departures.SOON) == {(space.inode, MERGED)}
        yield one, space


def bind(place: bytes) -> None:
    os.makedirs(place, exist_ok=True)
    syscalls.mount(MERGED, place, None, MS_BIND)


@each_tier
def test_a_copy_that_is_bound_elsewhere_once_the_leak_is_known(used: Tier) -> None:
    def judge() -> None:
        with leaked(used) as (one, space):
            space.run(bind, b"/mnt/b")
            assert one.copies() == {(space.inode, MERGED), (space.inode, b"/mnt/b")}
            space.run(syscalls.umount, MERGED)
            assert one.copies() == {(space.inode, b"/mnt/b")}

    in_processes(judge)


@each_tier
def test_a_copy_of_a_copy_outlives_the_namespace_that_it_was_made_in(used: Tier) -> None:
    def judge() -> None:
        with leaked(used) as (one, space):
            space.run(bind, b"/mnt/b")
            with hold(space) as copied:
                copied.run(syscalls.umount, MERGED)
                one.later()
                space.kill()
                assert one.later() == {(copied.inode, b"/mnt/b")}

    in_processes(judge)


@each_tier
def test_a_copy_of_a_copy_that_was_not_read_when_the_first_one_went(used: Tier) -> None:
    """Its superblock says that there is one."""

    def judge() -> None:
        with leaked(used) as (one, space):
            space.run(bind, b"/mnt/b")
            with hold(space) as copied:
                copied.run(syscalls.umount, MERGED)
                space.kill()
                assert one.copies(Part()) == set()
                assert one.later(departures.SOON) == {(copied.inode, b"/mnt/b")}

    in_processes(judge)


@each_tier
def test_a_layer_that_home_had_in_another_place_after_its_own(used: Tier) -> None:
    def judge() -> None:
        with service(used) as one:
            bind(b"/mnt/b")
            syscalls.umount(MERGED)
            one.later()
            with hold(propagation="private") as space:
                assert one.later() == set(), "home has it"
                syscalls.umount(b"/mnt/b")
                assert one.later(departures.LINGER) == {(space.inode, b"/mnt/b")}

    in_processes(judge)


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
