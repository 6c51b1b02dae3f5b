"""When what was found is looked at again."""

from mountwarden.config.schema import Confirm
from mountwarden.scan.suspects import AGAIN, Suspects

from tests.support.findings import finding

NAMESPACE = 42


def test_what_is_confirmed_is_looked_at_again_however_often_others_are_scanned() -> None:
    """Each scan put it off by a minute: where containers come and go, for ever."""
    one, dues = Suspects(), set[float]()
    for clock in range(int(AGAIN)):
        dues.add(one.update([finding()], Confirm(), float(clock))[NAMESPACE])
    confirmed, again = sorted(dues)
    assert 0 < confirmed < 1.5
    assert AGAIN < again < AGAIN + 3
    later = one.update([finding()], Confirm(), again)[NAMESPACE]
    assert later == again + AGAIN


def test_what_is_found_again_begins_anew() -> None:
    one = Suspects()
    for clock in (0.0, 5.0):
        one.update([finding()], Confirm(), clock)
    assert one.update([], Confirm(), 6.0) == {}
    assert 7 < one.update([finding()], Confirm(), 7.0)[NAMESPACE] < 8
