"""Random topologies of real mounts: what is predicted of an umount or a detach is what the kernel then does.

`make prove` tries 10,000 of them.
"""

import pytest
from mountwarden.observe import behaviour
from mountwarden.propagation import Behaviour

from tests.support.prove.mutants import MUTANTS
from tests.support.prove.search import first_wrong, search

pytestmark = pytest.mark.timeout(300)

EXAMPLES = 300
SEED = 20


def test_no_prediction_is_wrong() -> None:
    tally = search(EXAMPLES, SEED)
    print(tally.table())
    assert list(tally.shortcomings()) == []


@pytest.mark.parametrize("mutant", [name for name in MUTANTS if name])
def test_a_wrong_predictor_is_found_out(mutant: str) -> None:
    assert first_wrong(mutant, 300, SEED) is not None


def test_the_behaviour_is_asked_once_of_this_very_kernel() -> None:
    assert isinstance(behaviour.probe_behaviour(), Behaviour)
    assert behaviour.probe_behaviour() is behaviour.probe_behaviour()
    assert behaviour.probe_behaviour.cache_info().misses == 1
