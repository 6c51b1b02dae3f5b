"""Durations as people write them."""

import argparse

import pytest
from mountwarden.cli.durations import duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15min", 900), ("2h", 7200), ("7d", 604800), ("1h30m", 5400), ("1w 1d", 691200), ("1.5h", 5400)],
)
def test_good(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "7", "d", "0s", "-1h", "1y", "1h!", "h1", "99999w", "1 h x"])
def test_bad(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        duration(text)
