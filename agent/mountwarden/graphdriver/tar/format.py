"""The parts of a tar stream: blocks, PAX records, sparse maps. Pure functions from bytes.

The formats are described in pax(1p) of POSIX, and in GNU tar's manual ("Tar Internals": the standard, the
extensions, the sparse formats). The decoding of a header block itself is the standard library's,
`tarfile.TarInfo.frombuf`; its reader is not used: it takes a broken header in the middle for the end of the archive
and reads extended headers of any size.
"""

import tarfile
from dataclasses import dataclass

from ..driver import GraphdriverError

BLOCK = 512
ZERO = bytes(BLOCK)
XATTR = b"SCHILY.xattr."
_SPARSE_PAIR = 24  # octal offset and size, 12 bytes each
_OLD_SPARSE = (386, 4, 482)  # where the map starts, its entries, where the flag of a further block is
_EXTENDED_SPARSE = (0, 21, 504)
_OLD_REAL_SIZE = slice(483, 495)
_NANO = 10**9

Segments = tuple[tuple[int, int], ...]


class BadArchive(GraphdriverError):
    """The stream is no whole tar, or holds what no layer may hold."""

    status = 2


def padded(size: int) -> int:
    """A size with what fills its last block."""
    return -(-size // BLOCK) * BLOCK


def header(block: bytes, position: int) -> tarfile.TarInfo:
    """One header block decoded. Raises: BadArchive for a wrong checksum or number."""
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError, OverflowError) as error:
        raise BadArchive(f"no tar header at byte {position}: {error}") from None
    if info.size < 0:
        raise BadArchive(f"the header at byte {position} gives a negative size")
    return info


def to_bytes(text: str) -> bytes:
    """A name as the archive holds it."""
    return text.encode("utf-8", "surrogateescape")


def pax_records(data: bytes) -> list[tuple[bytes, bytes]]:
    """The records `length key=value\\n` of an extended header, in their order."""
    records = []
    position = 0
    while position < len(data) and data[position]:
        space = data.find(b" ", position, position + 12)
        length = _decimal(data[position:space]) if space > position else 0
        record = data[space + 1 : position + length]
        key, equals, value = record[:-1].partition(b"=")
        if not key or not equals or position + length > len(data) or not record.endswith(b"\n"):
            raise BadArchive("an extended header holds a broken record")
        records.append((key, value))
        position += length
    return records


def number(value: bytes, what: str) -> int:
    """A decimal number of an extended header, zero or more."""
    result = _decimal(value)
    if result < 0:
        raise BadArchive(f"an extended header gives {value[:40]!r} as {what}")
    return result


def _decimal(value: bytes) -> int:
    return int(value) if value.isdigit() and len(value) < 20 else -1


def nanoseconds(value: bytes) -> int:
    """A time `[-]seconds[.fraction]` in whole nanoseconds; a finer fraction is cut."""
    negative = value.startswith(b"-")
    seconds, _, fraction = value.removeprefix(b"-").partition(b".")
    if fraction and not fraction.isdigit():
        raise BadArchive(f"an extended header gives {value[:40]!r} as a time")
    total = number(seconds, "a time") * _NANO + int(fraction[:9].ljust(9, b"0") or b"0")
    return -total if negative else total


def time_text(nanosecond: int) -> str:
    """The reverse of `nanoseconds`, as short as it is exact."""
    sign = "-" if nanosecond < 0 else ""
    seconds, rest = divmod(abs(nanosecond), _NANO)
    return f"{sign}{seconds}.{rest:09d}".rstrip("0").rstrip(".")


@dataclass(frozen=True, slots=True)
class OldSparse:
    """One block of a GNU sparse map, and whether another block follows."""

    segments: Segments
    more: bool
    real_size: int


def old_sparse(block: bytes, *, first: bool) -> OldSparse:
    """The map in a header of type `S` (`first`), or in a block that extends it."""
    start, entries, flag = _OLD_SPARSE if first else _EXTENDED_SPARSE
    segments = []
    for position in range(start, start + entries * _SPARSE_PAIR, _SPARSE_PAIR):
        offset, size = block[position : position + 12], block[position + 12 : position + 24]
        if not offset.strip(b"\0 "):
            break
        segments.append((_octal(offset), _octal(size)))
    return OldSparse(tuple(segments), bool(block[flag]), _octal(block[_OLD_REAL_SIZE]) if first else 0)


def _octal(value: bytes) -> int:
    try:
        return tarfile.nti(value)  # type: ignore[attr-defined,no-any-return]
    except tarfile.HeaderError as error:
        raise BadArchive(f"a sparse map holds no number: {error}") from None


def check_segments(segments: Segments, stored: int, real: int) -> Segments:
    """The map itself, if it is in order, inside the file, and accounts for all stored bytes."""
    end = 0
    for offset, size in segments:
        if offset < end or size < 0 or offset + size > real:
            raise BadArchive("a sparse map is out of order or leaves its file")
        end = offset + size
    if sum(size for _, size in segments) != stored:
        raise BadArchive("a sparse map does not match what is stored")
    return segments


def pairs(values: list[int]) -> Segments:
    """A flat list of offsets and sizes as segments."""
    if len(values) % 2:
        raise BadArchive("a sparse map has an offset without a size")
    return tuple(zip(values[::2], values[1::2], strict=True))
