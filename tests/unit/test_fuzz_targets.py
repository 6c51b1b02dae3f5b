"""What the fuzzers call is there: each target takes nothing and its first seeds, without the fuzzing."""

import pytest

from tests.support import fuzz


@pytest.mark.parametrize("target", [one for one in fuzz.TARGETS if one != "facts"])  # which reads by atheris
def test_a_target_takes_its_seeds(target: str) -> None:
    function, seeds, _longest = fuzz.TARGETS[target]
    for seed in (b"", *seeds()[:5]):
        function(seed)
