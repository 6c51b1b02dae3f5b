"""Colours, signs and columns, by the habits of systemd's tools."""

import io
import os
import pty
import select
from collections.abc import Iterator

import pytest
from mountwarden.cli import service
from mountwarden.output import terminal


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


@pytest.mark.parametrize(("term", "bidi"), [("xterm-256color", True), ("linux", False), ("dumb", False)])
def test_only_a_terminal_that_may_know_bidirectional_text_gets_marks(
    tty: io.TextIOWrapper, term: str, bidi: bool
) -> None:
    assert terminal.of(tty, {"TERM": term}).bidi is bidi


@pytest.mark.parametrize(("seconds", "said"), [(5.0, True), (1.0, False)])
def test_progress_is_told_on_a_terminal_and_only_when_it_takes_long(
    monkeypatch: pytest.MonkeyPatch, seconds: float, said: bool
) -> None:
    leader, follower = pty.openpty()
    with open(leader, "rb", buffering=0) as reader, open(follower, "w", encoding="utf-8") as stream:
        monkeypatch.setattr("sys.stderr", stream)
        service.scanning_again(seconds)
        ready, _, _ = select.select([reader], [], [], 0)
        assert bool(ready) is said
        assert not said or b"scanning again in 5 s" in reader.read(200)


def test_progress_is_not_told_to_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    service.scanning_again(60.0)
    assert stream.getvalue() == ""


def test_a_pipe_has_no_colours_and_80_columns() -> None:
    reader, writer = os.pipe()
    with open(reader, "rb"), open(writer, "w", encoding="utf-8") as stream:
        assert terminal.of(stream, {}) == terminal.Terminal(80, False, False, False)


def test_signs_have_stand_ins_in_other_encodings() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="iso8859-1")
    screen = terminal.of(stream, {})
    assert [screen.glyph(sign) for sign in "●→…✓"] == ["*", "->", "...", "ok"]
    assert all(screen.glyph(sign).isascii() for sign in terminal._GLYPHS)
