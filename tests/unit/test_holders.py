"""The service that a process belongs to."""

import pytest
from mountwarden.explain import holders
from mountwarden.explain.members import service_of
from mountwarden.model import Holder, Namespace, NamespaceKind


@pytest.mark.parametrize(
    ("unit", "user_unit", "service"),
    [
        ("leaky.service", None, "leaky.service"),
        ("session-3.scope", None, None),
        ("user@1000.service", "web.service", "web.service"),
        ("user@1000.service", "app.scope", None),
        ("user@1000.service", None, None),
        (None, None, None),
    ],
)
def test_service_of(unit: str | None, user_unit: str | None, service: str | None) -> None:
    assert service_of(Holder(1, "x", unit, user_unit=user_unit)) == service


@pytest.mark.parametrize(
    ("unit", "container", "foreign", "kind"),
    [
        ("leaky.service", None, (), NamespaceKind.SERVICE),
        ("leaky.service", None, ("user",), NamespaceKind.SERVICE),  # PrivateUsers=
        ("leaky.service", None, ("pid", "user"), NamespaceKind.CONTAINER),  # a runtime that we do not know
        ("leaky.service", "box", (), NamespaceKind.CONTAINER),
        ("session-3.scope", None, (), NamespaceKind.PROCESS),
        ("session-3.scope", None, ("user",), NamespaceKind.CONTAINER),
        (None, None, (), NamespaceKind.PROCESS),
    ],
)
def test_kind(unit: str | None, container: str | None, foreign: tuple[str, ...], kind: NamespaceKind) -> None:
    found = holders._Process(Holder(1, "x", unit, container), frozenset(foreign))
    assert holders._kind(Namespace(7, (1,)), [found]) is kind


def test_processes_that_could_not_be_read_are_still_processes() -> None:
    assert holders._kind(Namespace(7, (1,)), []) is NamespaceKind.PROCESS
    assert holders._kind(Namespace(7), []) is NamespaceKind.BARE
