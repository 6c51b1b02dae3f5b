"""The service that a process belongs to."""

import pytest
from mountwarden.holders import service_of
from mountwarden.model import Holder


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
