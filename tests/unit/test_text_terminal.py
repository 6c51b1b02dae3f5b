"""Colours, signs and columns, by the habits of systemd's tools."""

import io
import os
import pty
from collections.abc import Iterator

import pytest
from mountwarden.tell import terminal


@pytest.fixture
def tty() -> Iterator[io.TextIOWrapper]:
    """A real terminal to write to."""
    leader, follower = pty.openpty()
    with open(leader, "rb"), open(follower, "w", encoding="utf-8") as stream:
        yield stream


def test_a_terminal_has_colours(tty: io.TextIOWrapper) -> None:
    screen = terminal.of(tty, {"TERM": "xterm"})
    assert screen.paint("x", "red") == "\x1b[1;31mx\x1b[0m"
    assert screen.interactive


@pytest.mark.parametrize(
    "environ", [{"NO_COLOR": "1"}, {"SYSTEMD_COLORS": "0"}, {"SYSTEMD_COLORS": "false"}, {"TERM": "dumb"}]
)
def test_the_environment_turns_colours_off(tty: io.TextIOWrapper, environ: dict[str, str]) -> None:
    assert terminal.of(tty, environ).paint("x", "red") == "x"


def test_the_option_turns_colours_off(tty: io.TextIOWrapper) -> None:
    assert terminal.of(tty, {}, no_color=True).paint("x", "red") == "x"


def test_an_empty_no_color_says_nothing(tty: io.TextIOWrapper) -> None:
    assert terminal.of(tty, {"NO_COLOR": ""}).colour


def test_a_pipe_has_no_colours_and_80_columns() -> None:
    reader, writer = os.pipe()
    with open(reader, "rb"), open(writer, "w", encoding="utf-8") as stream:
        assert terminal.of(stream, {}) == terminal.Terminal(80, False, False, False)


def test_signs_have_stand_ins_in_other_encodings() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="iso8859-1")
    screen = terminal.of(stream, {})
    assert [screen.glyph(sign) for sign in "●→…✓"] == ["*", "->", "...", "ok"]
    assert all(screen.glyph(sign).isascii() for sign in terminal._GLYPHS)
