"""Reading a layer tar from a stream, one member at a time, without trusting what it says.

ustar, PAX and GNU tar (long names, all four sparse formats). What would need unbounded memory is limited; a stream
that stops early is an error that says where, and never the end of the archive.
"""

import enum
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from ..beneath import printable
from .format import (
    BLOCK,
    XATTR,
    ZERO,
    BadArchive,
    Segments,
    check_segments,
    header,
    nanoseconds,
    number,
    old_sparse,
    padded,
    pairs,
    pax_records,
    to_bytes,
)

_HEADER_LIMIT = 1 << 20  # bytes of one extended header, long name or sparse map; archive/tar of Go has the same
_CHUNK = 1 << 20
_HEADERS_LIMIT = 4 * _HEADER_LIMIT
"""Bytes of all the extended headers of one member."""
_ID_LIMIT = 0xFFFFFFFE
_OFF_LIMIT = 1 << 63
"""Sizes, and seconds before and after 1970, are below it: off_t and time_t."""


class EntryKind(enum.StrEnum):
    """What a member is."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    HARDLINK = "hard link"
    CHARACTER = "character device"
    BLOCK = "block device"
    FIFO = "fifo"


_KINDS = {
    tarfile.REGTYPE: EntryKind.FILE,
    tarfile.AREGTYPE: EntryKind.FILE,
    tarfile.CONTTYPE: EntryKind.FILE,
    tarfile.GNUTYPE_SPARSE: EntryKind.FILE,
    tarfile.DIRTYPE: EntryKind.DIRECTORY,
    tarfile.SYMTYPE: EntryKind.SYMLINK,
    tarfile.LNKTYPE: EntryKind.HARDLINK,
    tarfile.CHRTYPE: EntryKind.CHARACTER,
    tarfile.BLKTYPE: EntryKind.BLOCK,
    tarfile.FIFOTYPE: EntryKind.FIFO,
}


@dataclass(slots=True)
class Member:
    """One member. `size` counts the file's bytes, holes too; `segments` are those that the stream holds."""

    name: bytes
    kind: EntryKind
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int
    segments: Segments
    target: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: dict[str, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class _Extended:
    """What extended headers said about the member that follows."""

    records: list[tuple[bytes, bytes]] = field(default_factory=list)
    name: bytes | None = None
    target: bytes | None = None
    size: int = 0

    def last(self, key: bytes) -> bytes | None:
        return next((value for known, value in reversed(self.records) if known == key), None)


class TarReader:
    """An iterator of members. Between two steps `readinto` gives the member's bytes, what is not read is skipped.

    With `end_marker` a stream without the block of zeros that ends a tar counts as truncated; without it, a stream
    that ends cleanly between two members is whole (its transport shows a truncation), an empty one still is not.
    """

    def __init__(self, stream: BinaryIO, *, end_marker: bool = True) -> None:
        self._stream = stream
        self._end_marker = end_marker
        self._name = b""
        self._left = 0  # bytes of this member's data still in the stream
        self._padding = 0
        self.position = 0

    def __iter__(self) -> Iterator[Member]:
        while (member := self._next()) is not None:
            yield member

    def readinto(self, view: memoryview) -> None:
        """Fill `view` with the next bytes of the member. Raises: BadArchive where the stream ends before."""
        if len(view) > self._left:
            raise BadArchive(f"{printable(self._name)} holds fewer bytes than it says")
        self._fill(view)
        self._left -= len(view)

    def drain(self) -> None:
        """Read what follows the end marker: padding, up to the end of the transport, which may show a truncation."""
        while self._stream.read(_CHUNK):
            pass

    def _fill(self, view: memoryview) -> None:
        done = 0
        while done < len(view):
            count = self._stream.readinto(view[done:])  # type: ignore[attr-defined]
            if not count:
                raise BadArchive(
                    f"the archive ends in the middle of {printable(self._name)}, after {self.position} bytes"
                )
            done += count
            self.position += count

    def _read(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) < size:
            buffer = bytearray(data) + bytearray(size - len(data))
            self.position += len(data)
            self._fill(memoryview(buffer)[len(data) :])
            return bytes(buffer)
        self.position += size
        return data

    def _skip(self) -> None:
        rest = self._left + self._padding
        while rest:
            rest -= len(self._read(min(rest, _CHUNK)))
        self._left = self._padding = 0

    def _block(self) -> bytes | None:
        """The next header block, None at the end of the archive."""
        start = self.position
        data = self._stream.read(BLOCK)
        while data and len(data) < BLOCK:
            more = self._stream.read(BLOCK - len(data))
            if not more:
                raise BadArchive(f"the archive ends in the middle of a header, after {start + len(data)} bytes")
            data += more
        self.position += len(data)
        if not data and (self._end_marker or not start):
            raise BadArchive(f"the archive ends after {start} bytes without an end marker: truncated, or no tar")
        return None if not data or data == ZERO else data

    def _next(self) -> Member | None:
        self._skip()
        extended = _Extended()
        while (block := self._block()) is not None:
            info = header(block, self.position - BLOCK)
            if info.type not in (
                tarfile.XHDTYPE,
                tarfile.SOLARIS_XHDTYPE,
                tarfile.XGLTYPE,
                tarfile.GNUTYPE_LONGNAME,
                tarfile.GNUTYPE_LONGLINK,
            ):
                return self._member(info, block, extended)
            self._extend(info, extended)
        if extended.records or extended.name or extended.target:
            raise BadArchive("the archive ends after an extended header")
        return None

    def _extend(self, info: tarfile.TarInfo, extended: _Extended) -> None:
        """Read the data of an extended header. A global one says nothing that a layer needs, as Docker sees it too."""
        extended.size += info.size
        if info.size > _HEADER_LIMIT or extended.size > _HEADERS_LIMIT:
            raise BadArchive(f"an extended header of {info.size} bytes is too big")
        data = self._read(padded(info.size))[: info.size]
        if info.type == tarfile.GNUTYPE_LONGNAME:
            extended.name = data.partition(b"\0")[0]
        elif info.type == tarfile.GNUTYPE_LONGLINK:
            extended.target = data.partition(b"\0")[0]
        elif info.type != tarfile.XGLTYPE:
            extended.records.extend(pax_records(data))

    def _member(self, info: tarfile.TarInfo, block: bytes, extended: _Extended) -> Member:
        name = extended.last(b"path") or extended.name or to_bytes(info.name)
        name = extended.last(b"GNU.sparse.name") or name
        self._name = name
        kind = _KINDS.get(info.type)
        if kind is None:
            raise BadArchive(f"{printable(name)} is of the unknown type {info.type!r}")
        if kind is EntryKind.FILE and name.endswith(b"/"):  # how tar before POSIX wrote a directory
            kind = EntryKind.DIRECTORY
        stored = self._numbers(info, extended)
        if kind is not EntryKind.FILE:
            stored = 0
        self._left = stored
        self._padding = padded(stored) - stored
        size, segments = self._content(info, block, extended, stored)
        target = extended.last(b"linkpath") or extended.target or to_bytes(info.linkname)
        text = extended.last(b"mtime")
        mtime = int(info.mtime) * 10**9 if text is None else nanoseconds(text)
        xattrs = _xattrs(extended)
        if b"\0" in target or any("\0" in key for key in xattrs):
            raise BadArchive(f"{printable(name)} has a NUL byte in its link or in an attribute's name")
        if not -_OFF_LIMIT <= mtime // 10**9 < _OFF_LIMIT or not 0 <= size < _OFF_LIMIT:
            raise BadArchive(f"{printable(name)} has an impossible size or time")
        return Member(
            name=name,
            kind=kind,
            mode=info.mode & 0o7777,
            uid=info.uid,
            gid=info.gid,
            mtime=mtime,
            size=size,
            segments=segments,
            target=target,
            device=(info.devmajor, info.devminor),
            xattrs=xattrs,
        )

    def _numbers(self, info: tarfile.TarInfo, extended: _Extended) -> int:
        """Check owner and device in place; the bytes that the stream holds."""
        for key in ("uid", "gid"):
            value = extended.last(key.encode())
            if value is not None:
                setattr(info, key, number(value, key))
            if not 0 <= getattr(info, key) <= _ID_LIMIT:
                raise BadArchive(f"{printable(self._name)} has the impossible {key} {getattr(info, key)}")
        if not (0 <= info.devmajor < 1 << 12 and 0 <= info.devminor < 1 << 20):  # linux/kdev_t.h
            raise BadArchive(f"{printable(self._name)} has an impossible device number")
        text = extended.last(b"size")
        size = info.size if text is None else number(text, "size")
        if size >= _OFF_LIMIT:
            raise BadArchive(f"{printable(self._name)} has the impossible size {size}")
        return size

    def _content(self, info: tarfile.TarInfo, block: bytes, extended: _Extended, stored: int) -> tuple[int, Segments]:
        if info.type == tarfile.GNUTYPE_SPARSE:
            return self._old_sparse(block, stored)
        if any(key.startswith(b"GNU.sparse.") for key, _ in extended.records):
            return self._pax_sparse(extended, stored)
        return stored, ((0, stored),) if stored else ()

    def _old_sparse(self, block: bytes, stored: int) -> tuple[int, Segments]:
        part = old_sparse(block, first=True)
        real, segments = part.real_size, list(part.segments)
        while part.more:
            part = old_sparse(self._read(BLOCK), first=False)
            segments.extend(part.segments)
            if len(segments) * 24 > _HEADER_LIMIT:
                raise BadArchive(f"the sparse map of {printable(self._name)} is too big")
        return real, check_segments(tuple(segments), stored, real)

    def _pax_sparse(self, extended: _Extended, stored: int) -> tuple[int, Segments]:
        text = extended.last(b"GNU.sparse.realsize") or extended.last(b"GNU.sparse.size")
        if text is None:
            raise BadArchive(f"the sparse file {printable(self._name)} does not say its size")
        real = number(text, "sparse size")
        packed = extended.last(b"GNU.sparse.map")
        if extended.last(b"GNU.sparse.major") == b"1":
            values = self._sparse_map_in_data()
        elif packed is not None:
            values = [number(v, "sparse map") for v in packed.split(b",") if v]
        else:
            keys = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")
            values = [number(v, "sparse map") for key, v in extended.records if key in keys]
        return real, check_segments(pairs(values), self._left, real)

    def _sparse_map_in_data(self) -> list[int]:
        """Format 1.0: the number of segments and then the map, a decimal number a line, before the data."""
        data, lines, needed = b"", 0, 1
        while lines < needed:
            if self._left < BLOCK or len(data) > _HEADER_LIMIT:
                raise BadArchive(f"the sparse map of {printable(self._name)} is broken or too big")
            block = self._read(BLOCK)
            self._left -= BLOCK
            data += block
            lines += block.count(b"\n")
            if lines and needed == 1:
                needed = 1 + 2 * number(data.partition(b"\n")[0], "sparse map")
        return [number(value, "sparse map") for value in data.split(b"\n")[1:needed]]


def _xattrs(extended: _Extended) -> dict[str, bytes]:
    prefix = XATTR
    return {
        key[len(prefix) :].decode("utf-8", "surrogateescape"): value
        for key, value in extended.records
        if key.startswith(prefix)
    }
