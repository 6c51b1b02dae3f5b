"""The lines of one namespace's mountinfo, read a block at a time: whatever its length, no text is held whole.

Whoever owns a namespace decides how long its text and each of its lines are. A text within one block, as most are, is
read once, however often it is asked for.
"""

import errno
import hashlib
import itertools
import os
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from ..mounts.mountinfo import Lines

BLOCK = 1 << 21
"""Bytes that are read for a block, which is the whole lines among them. A line that is longer is cut."""

TOO_LONG = f"a line is longer than {BLOCK >> 20} MiB"
"""A reason why a line is unreadable."""

_HEAD = 64
"""Bytes of such a line that are kept: its ids, by which it counts as a line and in the order of the mounts."""
_READ = 1 << 16
_FEW = 32
"""Ids that are searched for one by one; for more, the lines are looked at one by one."""


@dataclass(frozen=True, slots=True)
class ReadingLimits:
    """What the reading of one namespace may take."""

    size: int = 64 << 20
    """Bytes of text."""
    seconds: float = 2.0
    """CPU time, most of it the kernel's: a line of a mount in a stack takes a step for each below it."""
    kept: int = 4 << 20
    """Bytes of lines that are kept because a scan has to judge them."""


class TimeLeft:
    """So many seconds of this thread's processor time, asked for often.

    A question for processor time costs some 20 µs, as much as the page of text that was read before it; one for the
    time that has passed is no system call, and no less has passed.
    """

    def __init__(self, seconds: float) -> None:
        self._until, self._passed = time.thread_time() + seconds, time.monotonic() + seconds

    def is_over(self) -> bool:
        """Whether it has been used."""
        return time.monotonic() > self._passed and time.thread_time() > self._until


USUAL = ReadingLimits()
"""Where nothing else is known of the namespace."""


class MountLines(Protocol):
    """The lines of mountinfo of one namespace."""

    @property
    def too_long(self) -> int:
        """How many lines the last reading cut, because they were longer than a block."""

    @property
    def limits(self) -> ReadingLimits:
        """What its reading may take."""

    def whole(self) -> bytes | None:
        """The text, if it is one block, in which `find` finds everything without another reading."""

    def blocks(self) -> Iterator[bytes]:
        """All lines from the first one on, in blocks of whole ones, each with its newline. Raises: OSError."""

    def find(self, ids: Collection[bytes]) -> dict[bytes, bytes]:
        """The lines of these small mount ids, as written, without newlines; what is not there is missing."""


@dataclass(slots=True)
class LinesInHand:
    """Lines that are in memory already; `tree` is where `find` looks, where that is not the text itself."""

    text: bytes
    tree: bytes | None = None
    too_long: int = 0
    limits: ReadingLimits = field(default_factory=ReadingLimits)

    def whole(self) -> bytes | None:
        """As `MountLines` says."""
        return self.text

    def blocks(self) -> Iterator[bytes]:
        """As `MountLines` says."""
        yield self.text

    def find(self, ids: Collection[bytes]) -> dict[bytes, bytes]:
        """As `MountLines` says."""
        return _found(self.text if self.tree is None else self.tree, ids)


class OpenMountinfo:
    """An open mountinfo.

    Every call raises OSError as read(2) does; EFBIG and ETIME where the text is beyond its `limits`.
    """

    def __init__(self, rewound: Callable[[], int], limits: ReadingLimits) -> None:
        """`rewound` gives a descriptor at the begin of the text; whoever made it closes it."""
        self._rewound = rewound
        self.limits = limits
        self._only: bytes | None = None
        self._is_long = False
        self._begun: Iterator[bytes] | None = None
        self._digest: bytes | int = 0
        self.size = 0
        self.too_long = 0

    @classmethod
    def in_hand(cls, text: bytes, limits: ReadingLimits) -> "OpenMountinfo":
        """One whose text was read already, and is within one block."""
        lines = cls(lambda: -1, limits)
        lines._only, lines.size, lines._digest = text, len(text), hash(text)
        return lines

    @property
    def signature(self) -> tuple[int, bytes | int]:
        """Length and hash of the text, once all blocks were read."""
        return self.size, self._digest

    def signed(self) -> tuple[int, bytes | int]:
        """The same, after reading what was not read yet."""
        for _block in self.blocks():
            pass
        return self.signature

    def whole(self) -> bytes | None:
        """As `MountLines` says."""
        if self._only is None and not self._is_long:
            blocks = self._read()
            first = next(blocks, b"")
            second = next(blocks, None)
            if second is None:
                self._only, self._digest = first, hash(first)
            else:
                self._is_long, self._begun = True, itertools.chain((first, second), blocks)
        return self._only

    def blocks(self) -> Iterator[bytes]:
        """As `MountLines` says."""
        whole = self.whole()
        if whole is not None:
            yield whole
            return
        begun, self._begun = self._begun, None
        digest = hashlib.blake2b(digest_size=16)
        for block in begun or self._read():
            digest.update(block)
            yield block
        self._digest = digest.digest()

    def find(self, ids: Collection[bytes]) -> dict[bytes, bytes]:
        """As `MountLines` says."""
        found: dict[bytes, bytes] = {}
        for block in self.blocks() if ids else ():
            found |= _found(block, ids)
            if sum(map(len, found.values())) > self.limits.kept:
                raise _over(errno.EFBIG)
        return found

    def _read(self) -> Iterator[bytes]:
        fd, self.size, self.too_long = self._rewound(), 0, 0
        time_left = TimeLeft(self.limits.seconds)
        rest, cutting = bytearray(), False
        while part := os.read(fd, _READ):  # the kernel gives a page at a time, or a longer line
            self.size += len(part)
            if self.size > self.limits.size:
                raise _over(errno.EFBIG)
            if time_left.is_over():
                raise _over(errno.ETIME)
            if cutting:
                part, cutting = part[part.find(b"\n") :] if b"\n" in part else b"", b"\n" not in part
            rest += part
            if len(rest) >= BLOCK:
                end = rest.rfind(b"\n") + 1
                if end:
                    with memoryview(rest) as view:
                        block = bytes(view[:end])
                    del rest[:end]
                    yield block
                    del block
                else:
                    self.too_long += 1
                    del rest[rest.rfind(b" ", 0, _HEAD) + 1 :]
                    cutting = True
        if rest:
            yield bytes(rest)


def _over(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def _found(text: bytes, ids: Collection[bytes]) -> dict[bytes, bytes]:
    if len(ids) > _FEW:
        heads = ((line.partition(b" ")[0], line) for line in text.split(b"\n"))
        return {identity: line for identity, line in heads if identity in ids}
    lines = Lines(text)
    found = ((identity, lines.by_id(identity)) for identity in ids)
    return {identity: line for identity, line in found if line is not None}
