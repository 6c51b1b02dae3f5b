"""Mountinfo in blocks: every line once, however the kernel hands the text out, and no more of it than the limits."""

import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from typing import IO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mountwarden.observe import mount_lines
from mountwarden.observe.mount_lines import LinesInHand, OpenMountinfo, ReadingLimits

BLOCK = 100
LINE = st.binary(min_size=1, max_size=BLOCK // 3).map(lambda line: line.replace(b"\n", b" "))
TEXT = st.lists(LINE, max_size=60).map(lambda lines: b"".join(line + b"\n" for line in lines))
WIDE = ReadingLimits()


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mount_lines, "BLOCK", BLOCK)
    monkeypatch.setattr(mount_lines, "_READ", 17)


class File:
    """A text in a file, and how often it was read from its begin."""

    def __init__(self, file: IO[bytes], text: bytes) -> None:
        self._fd, self.readings = file.fileno(), 0
        self.becomes(text)

    def becomes(self, text: bytes) -> None:
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, text, 0)

    def rewound(self) -> int:
        self.readings += 1
        os.lseek(self._fd, 0, os.SEEK_SET)
        return self._fd

    def lines(self, limits: ReadingLimits = WIDE) -> OpenMountinfo:
        return OpenMountinfo(self.rewound, limits)


Made = Callable[[bytes], File]


@pytest.fixture
def made() -> Iterator[Made]:
    with tempfile.TemporaryFile() as file:
        yield lambda text: File(file, text)


def line(identity: int, size: int = 40) -> bytes:
    return (b"%d 1 0:1 / /" % identity).ljust(size - 1, b"a") + b"\n"


def many(count: int) -> bytes:
    return b"".join(map(line, range(10, 10 + count)))


@given(TEXT, st.integers(1, 3 * BLOCK))
def test_every_line_of_a_file_comes_once_and_in_order(text: bytes, piece: int) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryFile() as file:
        patch.setattr(mount_lines, "_READ", piece)
        opened = File(file, text).lines()
        for _ in range(2):
            blocks = list(opened.blocks())
            assert b"".join(blocks) == text
            assert all(block.endswith(b"\n") for block in blocks if text)
            assert all(len(block) >= BLOCK - BLOCK // 3 for block in blocks[:-1])
            assert all(len(block) < BLOCK + piece for block in blocks)
            assert (opened.size, opened.too_long) == (len(text), 0)


@given(TEXT, st.lists(st.integers(1, 3 * BLOCK), min_size=1))
def test_every_line_of_a_pipe_comes_once_whatever_the_pieces(text: bytes, sizes: list[int]) -> None:
    """The kernel gives as much as it has ready: a page, or one long line."""

    def pieces() -> Iterator[bytes]:
        at = 0
        while at < len(text):
            for size in sizes:
                yield text[at : at + size]
                at += size
        while True:
            yield b""

    given_out = pieces()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "read", lambda _fd, _size: next(given_out))
        blocks = list(OpenMountinfo(lambda: -1, WIDE).blocks())
    assert b"".join(blocks) == text


@pytest.mark.parametrize("begin", [b"", many(1), many(4)], ids=["first", "second", "later"])
@pytest.mark.parametrize("size", [BLOCK + 20, 3 * BLOCK, 50 * BLOCK + 7])
@pytest.mark.parametrize("newline", [b"\n", b""])
def test_a_line_that_is_longer_than_a_block_is_cut_to_its_ids(
    made: Made, begin: bytes, size: int, newline: bytes
) -> None:
    end = line(99) if newline else b""
    opened = made(begin + line(77, size)[:-1] + newline + end).lines()
    for _ in range(2):
        text = b"".join(opened.blocks())
        assert text == begin + b"77 1 0:1 / " + newline + end
        assert opened.too_long == 1
    assert opened.find((b"77", b"99")).get(b"99", b"") + newline == end


def test_two_long_lines_in_a_row_are_two(made: Made) -> None:
    opened = made(line(77, 3 * BLOCK) + line(78, 4 * BLOCK) + line(9)).lines()
    assert b"".join(opened.blocks()) == b"77 1 0:1 / \n78 1 0:1 / \n" + line(9)
    assert opened.too_long == 2


def test_a_long_line_without_ids_is_a_line_still(made: Made) -> None:
    assert b"".join(made(b"x" * 3 * BLOCK + b"\n" + line(9)).lines().blocks()) == b"\n" + line(9)


@pytest.mark.parametrize("count", [2, 40])
@pytest.mark.parametrize("asked", [1, 3, 60], ids=["one", "few", "many"])
def test_lines_are_found_by_their_ids_wherever_they_are(made: Made, count: int, asked: int) -> None:
    """More than `_FEW` are searched for in another way."""
    text = many(count)
    ids = {b"%d" % number for number in range(10 + count - 2, 10 + count - 2 + asked)}
    expected = {one.split(b" ")[0]: one for one in text.splitlines() if one.split(b" ")[0] in ids}
    assert expected
    assert made(text).lines().find(ids) == LinesInHand(text).find(ids) == expected


def test_nothing_is_read_to_find_nothing(made: Made) -> None:
    file = made(many(9))
    assert file.lines().find(()) == {}
    assert file.readings == 0


def test_what_is_found_has_a_limit(made: Made) -> None:
    ids = [b"%d" % number for number in range(10, 20)]
    assert len(made(many(40)).lines(ReadingLimits(kept=390)).find(ids)) == 10
    with pytest.raises(OSError, match="too large") as raised:
        made(many(40)).lines(ReadingLimits(kept=389)).find(ids)
    assert raised.value.errno == errno.EFBIG


@pytest.mark.parametrize("count", [0, 2, 40])
def test_equal_texts_have_one_signature_and_others_another(made: Made, count: int) -> None:
    signatures = [made(text).lines().signed() for text in (many(count), many(count), many(count) + line(9))]
    assert signatures[0] == signatures[1]
    assert signatures[0][0] == len(many(count))
    file = made(many(count))
    opened = file.lines()
    opened.whole()
    for _ in opened.blocks():
        pass
    assert opened.signature == signatures[0]
    other_of_that_length = made(many(count) + line(8)).lines().signed()
    assert signatures[2] not in (signatures[0], other_of_that_length)


@pytest.mark.parametrize("count", [0, 2])
def test_a_text_of_one_block_is_read_once(made: Made, count: int) -> None:
    file = made(many(count))
    opened = file.lines()
    assert (opened.whole(), opened.whole(), list(opened.blocks())) == (many(count), many(count), [many(count)])
    opened.find((b"10",))
    opened.signed()
    assert file.readings == 1


def test_the_first_reading_of_a_longer_one_goes_on_where_it_was_asked_whether_it_is_whole(made: Made) -> None:
    file = made(many(40))
    opened = file.lines()
    assert opened.whole() is None
    assert b"".join(opened.blocks()) == many(40)
    assert opened.whole() is None
    assert file.readings == 1
    assert b"".join(opened.blocks()) == many(40)
    assert file.readings == 2


def test_a_reading_that_is_given_up_is_begun_anew(made: Made) -> None:
    opened = made(many(40)).lines()
    next(opened.blocks())
    assert b"".join(opened.blocks()) == many(40)


@pytest.mark.parametrize("count", [2, 40])
def test_a_text_beyond_the_limit_is_efbig(made: Made, count: int) -> None:
    size = len(many(count))
    assert made(many(count)).lines(ReadingLimits(size=size)).signed()[0] == size
    with pytest.raises(OSError, match="too large") as raised:
        made(many(count)).lines(ReadingLimits(size=size - 1)).signed()
    assert raised.value.errno == errno.EFBIG


def test_a_long_line_counts_as_long_as_it_is(made: Made) -> None:
    with pytest.raises(OSError, match="too large"):
        made(line(7, 50 * BLOCK)).lines(ReadingLimits(size=49 * BLOCK)).whole()


def test_what_takes_too_long_is_etime(made: Made) -> None:
    with pytest.raises(OSError, match="expired") as raised:
        made(many(2)).lines(ReadingLimits(seconds=-1.0)).whole()
    assert raised.value.errno == errno.ETIME
