"""The words of a tar stream, and reading one; what this says is checked against GNU tar in the kernel tests."""

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mountwarden.graphdriver.driver import GraphdriverError
from mountwarden.graphdriver.tar.format import BadArchive, check_segments, nanoseconds, pax_records, time_text
from mountwarden.graphdriver.tar.reader import EntryKind, TarReader


def archive(*names: str, data: bytes = b"x", format: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


@given(st.integers(min_value=-(10**20), max_value=10**20))
def test_times_come_back(nanosecond: int) -> None:
    text = time_text(nanosecond)
    if len(text.lstrip("-").partition(".")[0]) < 20:
        assert nanoseconds(text.encode()) == nanosecond


@given(st.lists(st.tuples(st.binary(min_size=1).filter(lambda k: b"=" not in k), st.binary())))
def test_records_come_back(records: list[tuple[bytes, bytes]]) -> None:
    data = b""
    for key, value in records:
        body = b" %b=%b\n" % (key, value)
        size = len(body) + 1
        while len(b"%d" % size) + len(body) != size:
            size += 1
        data += b"%d%b" % (size, body)
    assert pax_records(data) == records


@given(st.binary())
def test_any_bytes_are_records_or_an_error(data: bytes) -> None:
    try:
        pax_records(data)
    except BadArchive:
        return


@given(st.binary(max_size=3000))
def test_any_stream_is_members_or_an_error(data: bytes) -> None:
    try:
        list(TarReader(io.BytesIO(data)))
    except GraphdriverError:
        return


@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), min_size=1, max_size=4))
def test_any_damage_is_members_or_an_error(changes: list[tuple[int, int]]) -> None:
    data = bytearray(archive("a", "d" * 200, "é", data=b"y" * 600))
    for position, value in changes:
        data[position % len(data)] = value
    try:
        for member in (reader := TarReader(io.BytesIO(bytes(data)))):
            for _, size in member.segments:
                reader.readinto(memoryview(bytearray(min(size, 10_000))))
    except GraphdriverError:
        return


def test_a_sparse_map_is_checked() -> None:
    good = ((0, 5), (5, 5), (20, 0))
    assert check_segments(good, 10, 20) == good
    for bad, stored, real in [
        (((5, 5), (0, 5)), 10, 20),
        (((0, 5),), 6, 20),
        (((0, 30),), 30, 20),
        (((0, -1),), -1, 9),
    ]:
        with pytest.raises(BadArchive):
            check_segments(bad, stored, real)


class Dribble(io.RawIOBase):
    """A stream that gives a few bytes at a time."""

    def __init__(self, data: bytes, step: int) -> None:
        self._data, self._step, self._at = data, step, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        part = self._data[self._at : self._at + min(self._step, len(buffer))]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)


@pytest.mark.parametrize("step", [1, 7, 511, 513])
def test_a_stream_in_small_pieces(step: int) -> None:
    reader = TarReader(Dribble(archive("a", "b" * 150, data=b"z" * 1000), step))  # type: ignore[arg-type]
    seen = []
    for member in reader:
        view = bytearray(member.size)
        reader.readinto(memoryview(view))
        seen.append((member.name, member.kind, bytes(view)))
    assert seen == [(b"a", EntryKind.FILE, b"z" * 1000), (b"b" * 150, EntryKind.FILE, b"z" * 1000)]


def test_every_truncation_is_an_error() -> None:
    whole = archive("a", "n" * 120, data=b"z" * 700)
    end = len(whole.rstrip(b"\0"))
    for length in range(0, end, 37):
        with pytest.raises(BadArchive):
            list(TarReader(io.BytesIO(whole[:length])))


def test_a_clean_end_between_members_is_taken_where_the_transport_vouches() -> None:
    whole = archive("a", "b", data=b"")
    assert [m.name for m in TarReader(io.BytesIO(whole[:1024]), end_marker=False)] == [b"a", b"b"]
    with pytest.raises(BadArchive, match="without an end marker"):
        list(TarReader(io.BytesIO(whole[:1024])))
    with pytest.raises(BadArchive, match="no tar"):
        list(TarReader(io.BytesIO(b""), end_marker=False))


def test_the_end_after_an_extended_header_is_an_error() -> None:
    whole = archive("é" * 80)
    with pytest.raises(BadArchive, match="ends after an extended header"):
        list(TarReader(io.BytesIO(whole[:1024] + bytes(1024))))
