"""Lines of the journal, as watch shows them."""

import io
import json
import time

import pytest
from mountwarden.cli import watch
from mountwarden.tell.terminal import Terminal

FOUND = {
    "__REALTIME_TIMESTAMP": "1790000000250000",
    "MOUNTWARDEN_EVENT": "found",
    "MOUNTWARDEN_FINDING": "mw-0123456789",
    "MESSAGE": "/x leaked (mw-0123456789)",
}


def lines(*entries: object) -> list[watch.Line]:
    return list(watch.journal_lines(io.BytesIO(b"".join(json.dumps(entry).encode() + b"\n" for entry in entries))))


def test_an_event_is_a_line() -> None:
    (line,) = lines(FOUND)
    assert line == watch.Line(1790000000.25, "found", "mw-0123456789", "/x leaked (mw-0123456789)")


def test_other_entries_are_passed_over() -> None:
    assert lines({"__REALTIME_TIMESTAMP": "1", "MESSAGE": "Started."}) == []


@pytest.mark.parametrize("message", [list(b"a\x1b[2Jb"), "a\x1b[2Jb", ["a\x1b[2Jb", "second"]])
def test_nothing_raw_is_shown(message: object) -> None:
    (line,) = lines({**FOUND, "MESSAGE": message})
    assert line.text == r"a\x1b[2Jb"


def test_a_line_begins_with_the_local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    (line,) = lines(FOUND)
    assert watch.as_text(line, Terminal()) == "Sep 21 14:13:20 found    /x leaked (mw-0123456789)"
    assert watch.as_text(line, Terminal(colour=True)).startswith("Sep 21 14:13:20 \x1b[33mfound")


def test_json_is_a_line_too() -> None:
    (line,) = lines(FOUND)
    assert json.loads(watch.as_json(line)) == {
        "at": "2026-09-21T14:13:20.250Z",
        "event": "found",
        "finding": "mw-0123456789",
        "text": "/x leaked (mw-0123456789)",
    }
