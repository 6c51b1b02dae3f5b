"""Random topologies of real mounts: what is predicted of an umount or a detach is what the kernel then does.

`make prove` tries 10,000, other ones each time; here they are always the same, so that a failure is no accident.
"""

import os

import pytest
from mountwarden.kernel import abi, syscalls
from mountwarden.mounts.graph import Graph
from mountwarden.mounts.propagation import Behaviour, predict_umount
from mountwarden.observe import umount_probe
from mountwarden.observe.all_mounts import survey
from mountwarden.predict import umount as foresee

from tests.kernel.topology import Home
from tests.support.prove.mutants import PREDICTORS
from tests.support.prove.search import first_wrong, fixed
from tests.support.scratch_ns import hold

pytestmark = pytest.mark.timeout(300)

EXAMPLES = 300
SHORT = 60
SEED = 3400
HARD = (2054, 3738, 5632)
"""Scenarios in which a lock was inferred that was none, or missed: by a move, by a bind, by another namespace."""


@pytest.mark.parametrize("first", [SEED, pytest.param(SEED + SHORT, marks=pytest.mark.long)])
def test_no_prediction_is_wrong(first: int) -> None:
    tally = fixed(range(first, SEED + (SHORT if first == SEED else EXAMPLES)))
    print(tally.table())
    assert list(tally.shortcomings()) == []


def test_none_is_that_was_wrong_once() -> None:
    assert fixed(HARD).problems == []


@pytest.mark.parametrize("mutant", [name for name in PREDICTORS if name])
def test_a_wrong_predictor_is_found_out(mutant: str) -> None:
    assert first_wrong(mutant, range(SEED, SEED + EXAMPLES)) is not None


def test_the_behaviour_is_asked_once_of_this_very_kernel() -> None:
    assert isinstance(umount_probe.probe_behaviour(), Behaviour)
    assert umount_probe.probe_behaviour() is umount_probe.probe_behaviour()
    assert umount_probe.probe_behaviour.cache_info().misses == 1


def test_the_kernels_one_difference_is_told_as_this_kernel_has_it(home: Home) -> None:
    """A slave's mount on the root of an inner mount, then a lazy umount of the outer one (Linux 6.17 keeps it)."""
    outer, inner = b"/mnt/outer", b"/mnt/outer/inner"

    home.shared()
    with hold(home.sandbox, propagation="slave") as slave:
        home.run(lambda: _mounted(outer, inner))
        slave.run(syscalls.mount, b"over", inner, b"tmpfs")
        seen = survey((home.sandbox.pid, slave.pid), thorough=False)
        told = {one: _removed(Graph(seen.tables), outer, slave.inode, one) for one in Behaviour}
        foreseen = home.run(lambda: [place.mount.id for place in foresee.umount(outer, lazy=True).reached])
        before = _ids(slave.mountinfo())
        home.umount(outer, abi.MNT_DETACH)
        gone = before - _ids(slave.mountinfo())
    other = next(one for one in Behaviour if one is not umount_probe.probe_behaviour())
    assert gone == set(foreseen) == told[umount_probe.probe_behaviour()]
    assert gone != told[other]


def _mounted(*paths: bytes) -> None:
    for path in paths:
        os.mkdir(path)
        syscalls.mount(b"x", path, b"tmpfs")
        syscalls.mount(None, path, None, abi.MS_SHARED)


def _removed(graph: Graph, path: bytes, inode: int, one: Behaviour) -> set[int]:
    mount = next(
        place.mount for place in graph.places.values() if place.mount.point == path and place.namespace != inode
    )
    told = predict_umount(graph, mount, lazy=True, busy=frozenset(), locked=frozenset(), behaviour=one)
    return {place.mount.id for place in told.reached if place.namespace == inode}


def _ids(text: bytes) -> set[int]:
    return {int(line.split()[0]) for line in text.splitlines()}
