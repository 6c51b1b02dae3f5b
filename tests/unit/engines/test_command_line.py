"""Options of daemons' command lines."""

import pytest
from mountwarden.engines.command_line import option


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (b"", None),
        (b"--data-root /a", b"/a"),
        (b"--data-root=/a", b"/a"),
        (b"--data-root=/a --data-root /b", b"/b"),
        (b"-g /a", b"/a"),
        (b"-g=/a", b"/a"),
        (b"-g/a", b"/a"),
        (b"--graph=/a -g /b", b"/b"),
        (b"--data-root-x /a", None),
        (b"--data-root", None),
        (b"-D -- --data-root /a", None),
        (b"-H fd:// --containerd=/run/x.sock --data-root=", b""),
    ],
)
def test_forms(words: bytes, value: bytes | None) -> None:
    assert option((b"/usr/sbin/dockerd", *words.split()), b"--data-root", b"--graph", b"-g") == value
