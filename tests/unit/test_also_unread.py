"""--also-unread: which namespaces an operator may name, what is said of others, and what is handed on."""

import os
from argparse import ArgumentTypeError
from typing import Any, cast

import pytest
from mountwarden.cli import actions, service
from mountwarden.cli.source import Order
from mountwarden.errors import Declined, MountwardenError
from mountwarden.model import Action
from mountwarden.observe.enter import own_namespace
from mountwarden.remedies.results import refused
from mountwarden.report import outcomes
from mountwarden.report.types import ReportJson

from tests.support.findings import CONFIG, finding


@pytest.mark.parametrize("text", ["4026532001", "mnt:[4026532001]"])
def test_a_namespace_is_named_by_its_number_or_its_link(text: str) -> None:
    assert actions._namespace(text) == 4026532001


@pytest.mark.parametrize("text", ["", "0", "-1", "mnt:[1", "1]", "net:[1]", "١", "1 2", "9" * 21, "mw-0123456789"])
def test_what_is_none_is_one_clear_error(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="takes a number such as 4026532001"):
        actions._namespace(text)


def document(*unread: int) -> ReportJson:
    gaps = [{"what": "the mounts of a namespace", "namespace": one, "reason": "EFBIG", "count": 1} for one in unread]
    return cast("ReportJson", {"gaps": [*gaps, {"what": "x", "namespace": None, "reason": "y", "count": 1}]})


def test_one_that_can_be_read_is_said_to_have_no_effect(capsys: pytest.CaptureFixture[str]) -> None:
    assert actions._overruled([17, own_namespace(), 17], document(17)) == {17, own_namespace()}
    assert (
        capsys.readouterr().err == f"mount namespace {own_namespace()} can be read: --also-unread has no effect on it\n"
    )
    assert actions._overruled([17], document(17)) == {17}
    assert capsys.readouterr().err == ""


def test_one_that_is_not_there_is_an_error_with_those_that_can_be_named() -> None:
    user = os.stat("/proc/self/ns/user").st_ino
    for unread, hint in (((), "not read: none"), ((18, 17), "not read: 17, 18")):
        with pytest.raises(MountwardenError, match=f"^{user} is no mount namespace of this host now$") as error:
            actions._overruled([user], document(*unread))
        assert (error.value.hint, error.value.status) == (hint, 2)


def test_the_command_that_overrules_is_what_is_next() -> None:
    one = finding(1)
    kept = refused(one, Action.DETACH, Declined("unread", "kept back", unread=(17, 18)))
    assert outcomes.as_json(kept, CONFIG)["next"] == f"mountwarden detach {one.id} --also-unread 17 --also-unread 18"
    other = outcomes.as_json(refused(one, Action.DETACH, Declined("in-use", "x")), CONFIG)["next"]
    assert "--also-unread" not in (other or "")


def test_hundreds_are_named_in_short() -> None:
    kept = refused(finding(1), Action.DETACH, Declined("unread", "kept back", unread=tuple(range(1, 501))))
    next_ = outcomes.as_json(kept, CONFIG)["next"] or ""
    assert next_.endswith(" --also-unread 20 (and so on, for 480 more)")


def test_the_service_is_told_of_it_alone_where_it_was_said() -> None:
    """A service of an older version would refuse a parameter that it does not know."""
    asked: list[dict[str, Any]] = []

    class Client:
        def stream(self, _method: str, parameters: dict[str, Any], **_more: object) -> list[dict[str, Any]]:
            asked.append(parameters)
            return [{"outcomes": []}]

    running = service.RunningService(cast("Any", Client()))
    for named in (frozenset[int](), frozenset({18, 17})):
        assert list(running.act(Order(Action.DETACH, ["mw-1"], also_unread=named), lambda: True)) == []
    assert [one.get("also_unread") for one in asked] == [None, [17, 18]]
