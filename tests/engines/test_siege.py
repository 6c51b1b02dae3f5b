"""All attacks at once, by users and containers, beside containers of Docker and leaks of another tenant."""

import os

import pytest

from tests.siege.campaign import Siege
from tests.support import tree

pytestmark = pytest.mark.siege


def besiege(seconds: float, containers: int, leaks: int, *, whole: bool) -> None:
    """One siege, whose aims are all met."""
    if reason := tree.obstacle():
        pytest.skip(reason)
    siege = Siege(seconds, containers, leaks, whole=whole)
    siege.run()
    for row in siege.rows:
        print(f"{row.what}: {row.measured} (aim: {row.aim or 'none'})")
    assert [row for row in siege.rows if not row.met] == []


@pytest.mark.timeout(300)
def test_a_short_siege() -> None:
    besiege(40, 20, 5, whole=False)


@pytest.mark.timeout(1800)
def test_a_siege_of_minutes() -> None:
    """`make siege` takes 10, with 200 containers."""
    besiege(60 * float(os.environ.get("SIEGE_MINUTES") or 3), 100, 10, whole=True)
