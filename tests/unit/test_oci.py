import json

import pytest
from mountwarden.explain.oci import asked_propagation, propagation_in

CONFIG = {
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/host", "type": "bind", "source": "/", "options": ["rbind", "ro", "rslave"]},
    ]
}


def test_finds_the_propagation_of_one_mount() -> None:
    assert propagation_in(json.dumps(CONFIG).encode(), b"/host") == "rslave"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"mounts": 3}',
        b'{"mounts": [{"destination": "/host", "options": [7]}]}',
        b"[" * 100000,
    ],
)
def test_anything_else_tells_nothing(text: bytes) -> None:
    assert propagation_in(text, b"/host") is None


def test_a_mount_without_options_tells_nothing() -> None:
    assert propagation_in(json.dumps(CONFIG).encode(), b"/proc") is None


def test_a_name_that_is_no_id_is_never_made_a_path() -> None:
    assert asked_propagation("../../../../etc", b"/host") is None
