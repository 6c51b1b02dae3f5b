"""What a read of a fanotify group means, well made and hostile."""

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mountwarden.kernel import abi
from mountwarden.observe.tiers.fanotify import Events, parse

ATTACH, DETACH = abi.FAN_MNT_ATTACH, abi.FAN_MNT_DETACH


def event(mask: int, mount: int, pid: int = 7, *, kind: int = 7, length: int = 16, version: int = 3) -> bytes:
    record = struct.pack("=BBH4xQ", kind, 0, length, mount)
    return struct.pack("=IBBHQii", 24 + len(record), version, 0, 24, mask, -1, pid) + record


OVERFLOW = struct.pack("=IBBHQii", 24, 3, 0, 24, abi.FAN_Q_OVERFLOW, -1, 0)


def parsed(data: bytes) -> Events:
    events = Events()
    parse(data, events)
    return events


def test_each_kind_of_event() -> None:
    events = parsed(event(ATTACH, 1) + event(DETACH, 2, 8) + event(ATTACH | DETACH, 3, 8))
    assert (events.attached, events.detached, events.moved) == ({1}, {2}, {3})
    assert dict(events.causes) == {7: 1, 8: 2}
    assert not events.lost


def test_nothing_is_nothing() -> None:
    assert not Events()
    assert not parsed(b"")


def test_an_overflow_is_told_and_what_came_with_it_is_kept() -> None:
    events = parsed(event(ATTACH, 1) + OVERFLOW + event(DETACH, 2))
    assert events.lost
    assert (events.attached, events.detached) == ({1}, {2})


@pytest.mark.parametrize(
    "data",
    [
        event(ATTACH, 1)[:-1],
        event(ATTACH, 1) + b"\0",
        event(ATTACH, 1, version=4),
        event(ATTACH, 1, kind=6),
        event(ATTACH, 1, length=8),
        event(ATTACH, 1, length=3),
        event(ATTACH, 1, length=500),
        struct.pack("=IBBHQii", 24, 3, 0, 24, ATTACH, -1, 7),
        struct.pack("=IBBHQii", 0, 3, 0, 24, ATTACH, -1, 7),
        struct.pack("=IBBHQii", 40, 3, 0, 8, ATTACH, -1, 7) + bytes(16),
    ],
)
def test_what_can_not_be_understood_counts_as_lost(data: bytes) -> None:
    """Quiet loss is the worst fault of a watcher."""
    assert parsed(data).lost


def test_another_record_before_the_mount_is_passed_over() -> None:
    other = struct.pack("=BBHI", 9, 0, 8, 0)
    mount = struct.pack("=BBH4xQ", 7, 0, 16, 5)
    data = struct.pack("=IBBHQii", 24 + len(other + mount), 3, 0, 24, ATTACH, -1, 7) + other + mount
    assert parsed(data).attached == {5}


@given(st.binary(max_size=300))
@example(event(ATTACH, 1) * 3)
def test_any_bytes_are_events_or_loss(data: bytes) -> None:
    events = parsed(data)
    assert not data or events


@given(st.data())
def test_a_damaged_read_never_breaks_the_reader(data: st.DataObject) -> None:
    good = bytearray(event(ATTACH, 1) + event(DETACH, 2) + OVERFLOW)
    for _ in range(data.draw(st.integers(1, 5))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    assert parsed(bytes(good))
