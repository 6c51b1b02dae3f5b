"""A few seconds of coverage-guided fuzzing of each parser; `make fuzz` does more."""

import pytest

from tests.support import fuzz

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_nothing_is_raised_but_what_the_parser_says(target: str) -> None:
    try:
        found = fuzz.fuzz(target, 5)
    except fuzz.NotHere as error:
        pytest.skip(str(error))
    assert found.crash is None, found.text
    assert found.executions > 50
    assert found.edges > 20, "the parser's own code is what guides it"
