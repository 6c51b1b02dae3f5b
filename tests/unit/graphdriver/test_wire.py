"""Bodies of HTTP/1.1 both ways, and who can see a mount."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mountwarden.graphdriver.plugin.http import BrokenBody, ChunkedBody, ChunkedWriter, SizedBody
from mountwarden.graphdriver.visibility import Propagation, propagation_of, reaches


def read(body: io.RawIOBase) -> bytes:
    return io.BufferedReader(body, 64).read()


@given(st.lists(st.binary(max_size=200_000), max_size=4))
def test_chunks_come_back(pieces: list[bytes]) -> None:
    sent = io.BytesIO()
    begun = []
    writer = ChunkedWriter(sent.write, lambda: begun.append(True))
    for piece in pieces:
        writer.write(piece)
    writer.finish()
    assert begun == [True]
    sent.seek(0)
    body = ChunkedBody(io.BufferedReader(sent))  # type: ignore[arg-type]
    assert read(body) == b"".join(pieces)
    assert body.ended


def test_nothing_is_sent_before_there_is_enough_to_send() -> None:
    """So an error that comes early can still be told with its own status."""
    sent: list[bytes] = []
    writer = ChunkedWriter(sent.append, lambda: sent.append(b"head"))
    writer.write(b"x" * 1000)
    assert sent == []
    assert not writer.begun


def test_chunk_extensions_and_trailers_are_skipped() -> None:
    data = b"5;a=b\r\nhello\r\n0;x\r\nT: v\r\nU: w\r\n\r\nNEXT"
    source = io.BufferedReader(io.BytesIO(data))  # type: ignore[arg-type]
    assert read(ChunkedBody(source)) == b"hello"
    assert source.read() == b"NEXT"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"5",
        b"5\r\nhel",
        b"5\r\nhello",
        b"5\r\nhello\r\n",
        b"5\r\nhello\r\n0\r\n",
        b"x\r\n",
        b"-5\r\n",
        b"+5\r\nhello\r\n",
        b"5\r\nhelloX\r\n0\r\n\r\n",
        b"1" * 2000,
        b"\r\nhello",
    ],
)
def test_broken_chunks(data: bytes) -> None:
    with pytest.raises(BrokenBody):
        read(ChunkedBody(io.BufferedReader(io.BytesIO(data))))  # type: ignore[arg-type]


def test_a_sized_body_ends_where_it_says() -> None:
    source = io.BufferedReader(io.BytesIO(b"hello world"))  # type: ignore[arg-type]
    body = SizedBody(source, 5)
    assert read(body) == b"hello"
    assert body.ended
    with pytest.raises(BrokenBody):
        read(SizedBody(source, 100))


MOUNTINFO = (
    b"22 1 8:1 / / rw shared:1 - ext4 /dev/sda rw\n"
    b"30 22 8:2 / /var rw shared:7 master:3 - ext4 /dev/sdb rw\n"
    b"31 22 8:2 / /var/lib\\040x rw - ext4 /dev/sdb rw\n"
    b"32 30 8:3 / /var rw master:9 - ext4 /dev/sdc rw\n"
)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (b"/etc", Propagation(1, None)),
        (b"/var/lib/docker", Propagation(None, 9)),
        (b"/variable", Propagation(1, None)),
        (b"/var/lib x/y", Propagation(None, None)),
        (b"/", Propagation(1, None)),
    ],
)
def test_the_mount_that_holds_a_path(path: bytes, found: Propagation) -> None:
    assert propagation_of(MOUNTINFO, path) == found


@pytest.mark.parametrize(
    ("ours", "theirs", "answer"),
    [
        ((1, None), (1, None), True),
        ((1, None), (2, 1), True),
        ((1, None), (2, 3), False),
        ((None, 1), (1, None), False),
        ((None, None), (None, None), False),
        ((2, 1), (1, None), False),
    ],
)
def test_what_reaches_whom(
    ours: tuple[int | None, int | None], theirs: tuple[int | None, int | None], answer: bool
) -> None:
    assert reaches(Propagation(*ours), Propagation(*theirs)) is answer
