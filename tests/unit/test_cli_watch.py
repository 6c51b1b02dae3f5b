"""Lines of the journal, as watch shows them."""

import io
import json
import time

import pytest
from mountwarden.cli import watch
from mountwarden.observe.home_watch import Changed, MountChange, compare
from mountwarden.output.terminal import Terminal

from tests.support.journal_entries import FROM_SERVICE
from tests.support.reports import mount

FOUND = {
    **FROM_SERVICE,
    "__REALTIME_TIMESTAMP": "1790000000250000",
    "MOUNTWARDEN_EVENT": "found",
    "MOUNTWARDEN_FINDING": "mw-0123456789",
    "MESSAGE": "/x leaked (mw-0123456789)",
}


def lines(*entries: object) -> list[watch.WatchLine]:
    return list(watch.journal_lines(io.BytesIO(b"".join(json.dumps(entry).encode() + b"\n" for entry in entries))))


def test_an_event_is_a_line() -> None:
    (line,) = lines(FOUND)
    assert line == watch.WatchLine(1790000000.25, "found", "mw-0123456789", "/x leaked (mw-0123456789)")


def test_other_entries_are_passed_over() -> None:
    assert lines({**FOUND, "_SYSTEMD_CGROUP": "/docker/1"}) == [], "a container's"
    assert lines({"__REALTIME_TIMESTAMP": "1", "MESSAGE": "Started."}) == []


@pytest.mark.parametrize("message", [list(b"a\x1b[2Jb"), "a\x1b[2Jb", ["a\x1b[2Jb", "second"]])
def test_nothing_raw_is_shown(message: object) -> None:
    (line,) = lines({**FOUND, "MESSAGE": message})
    assert line.text == r"a\x1b[2Jb"


def test_a_line_begins_with_the_local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    (line,) = lines(FOUND)
    assert watch.as_text(line, Terminal()) == "Sep 21 14:13:20 found       /x leaked (mw-0123456789)"
    assert watch.as_text(line, Terminal(colour=True)).startswith("Sep 21 14:13:20 \x1b[33mfound")


@pytest.mark.parametrize("event", ["acted", "cleared", "failed", "paused", "resumed", "gap", "summary", "config-kept"])
def test_every_event_of_the_service_is_a_line(event: str) -> None:
    entry = {**FOUND, "MOUNTWARDEN_EVENT": event, "MOUNTWARDEN_FINDING": "", "MESSAGE": "what it says"}
    assert lines(entry) == [watch.WatchLine(1790000000.25, event, None, "what it says")]


def test_mounts_are_lines() -> None:
    layer = mount(id=9, point=b"/x\n", fstype="overlay", device="0:41", shared=7)
    changes = [Changed(MountChange.MOUNTED, layer), Changed(MountChange.UNMOUNTED, mount(shared=0))]
    assert list(watch.mount_lines(changes, 5.0)) == [
        watch.WatchLine(5.0, "mounted", None, r"/x\x0a: overlay 0:41, shared, peer group 7"),
        watch.WatchLine(5.0, "unmounted", None, "/: ext4 254:1, private"),
    ]


def test_two_readings_are_told_apart() -> None:
    top, one, two = mount(id=1), mount(id=2, point=b"/a", device="0:1"), mount(id=3, point=b"/b", device="0:2")
    assert compare({1: top, 2: one}, {1: top, 2: one}) == []
    assert compare({1: top, 2: one}, {1: top, 3: two}) == [
        Changed(MountChange.UNMOUNTED, one),
        Changed(MountChange.MOUNTED, two),
    ]
    other = mount(id=2, point=b"/a", device="0:9")
    assert compare({2: one}, {2: other}) == [
        Changed(MountChange.UNMOUNTED, one),
        Changed(MountChange.MOUNTED, other),
    ], "the id was used again"
    moved, private = mount(id=2, point=b"/c", device="0:1"), mount(id=2, point=b"/a", device="0:1", shared=0)
    assert compare({2: one}, {2: moved}) == [Changed(MountChange.MOVED, moved)]
    assert compare({2: one}, {2: private}) == [Changed(MountChange.PROPAGATION, private)]
    assert compare({2: one}, {2: mount(id=2, point=b"/a", device="0:1", options=b"ro")}) == []


def test_json_is_a_line_too() -> None:
    (line,) = lines(FOUND)
    assert json.loads(watch.as_json(line)) == {
        "at": "2026-09-21T14:13:20.250Z",
        "event": "found",
        "finding": "mw-0123456789",
        "text": "/x leaked (mw-0123456789)",
    }
