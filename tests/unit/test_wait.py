"""Waiting ends with the first true answer, or with an error that says what did not happen."""

import pytest

from tests.support.wait import wait_until


def test_the_first_true_answer_is_returned() -> None:
    answers = iter([0, None, "", "yes", "more"])
    assert wait_until(lambda: next(answers)) == "yes"
    assert next(answers) == "more"


def test_a_deadline_says_what_was_awaited_and_the_last_answer() -> None:
    with pytest.raises(AssertionError, match=r"not within 0.02 s: the moon is full \(last answer: 0\)"):
        wait_until(lambda: 0, 0.02, "the moon is full")


def test_one_look_is_made_even_without_time() -> None:
    assert wait_until(lambda: "there", 0) == "there"
