"""What a command asks the running service for: as much at once as it takes, and again what it had no more time for."""

from typing import Any, cast

import pytest
from mountwarden.cli import service
from mountwarden.cli.source import Order
from mountwarden.model import Action
from mountwarden.report.outcomes import NOT_REACHED
from mountwarden.service.answers import acting


class Client:
    """A service that reaches so many findings in each of its calls; in all further ones as many as in the last."""

    def __init__(self, *reached: int) -> None:
        self.asked: list[list[str]] = []
        self._reached = list(reached)

    def stream(self, _method: str, parameters: dict[str, Any], **_more: object) -> list[dict[str, Any]]:
        ids = parameters["ids"]
        self.asked.append(ids)
        many = self._reached.pop(0) if len(self._reached) > 1 else self._reached[0]
        codes = ("done" if at < many else NOT_REACHED for at in range(len(ids)))
        found = [{"finding_id": one, "code": code} for one, code in zip(ids, codes, strict=True)]
        return [{"outcomes": found[:many]}, {"outcomes": found[many:]}]


def acted(client: Client, ids: list[str], asks: int = 1_000_000) -> list[tuple[str, str]]:
    """The outcomes, in the order in which they came; after so many answers nobody wants to go on."""
    left = iter(range(asks))
    order = Order(Action.DETACH, ids)
    found = service.RunningService(cast("Any", client)).act(order, lambda: next(left, None) is not None)
    return [(one["finding_id"], one["code"]) for one in found]


IDS = [f"mw-{number}" for number in range(7)]


def test_it_is_asked_for_as_many_at_once_as_it_takes() -> None:
    ids, client = [f"mw-{number}" for number in range(2 * acting.MOST + 1)], Client(acting.MOST)
    assert acted(client, ids) == [(one, "done") for one in ids]
    assert [len(one) for one in client.asked] == [acting.MOST, acting.MOST, 1]


@pytest.mark.parametrize(("reached", "asked"), [((3,), [7, 4, 1]), ((1,), [7, 6, 5, 4, 3, 2, 1]), ((9,), [7])])
def test_it_is_asked_again_for_what_it_had_no_more_time_for(reached: tuple[int, ...], asked: list[int]) -> None:
    client = Client(*reached)
    assert acted(client, IDS) == [(one, "done") for one in IDS]
    assert [len(one) for one in client.asked] == asked


def test_of_what_it_can_t_reach_at_all_it_is_asked_no_more() -> None:
    client = Client(5, 0)
    assert acted(client, IDS) == [*((one, "done") for one in IDS[:5]), *((one, NOT_REACHED) for one in IDS[5:])]
    assert [len(one) for one in client.asked] == [7, 2]


def test_who_wants_no_more_asks_no_more() -> None:
    client = Client(3)
    assert acted(client, IDS, asks=1) == [(one, "done") for one in IDS[:3]]
    assert [len(one) for one in client.asked] == [7]
