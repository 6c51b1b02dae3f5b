"""The child that makes the calls that may hang in a file system: what it is asked for, and how it answers.

Each answer goes into memory that is shared with the parent as soon as it is known: those before a call that hangs are
not lost.
"""

import errno
import os
from collections.abc import Iterable, Sequence

from ..kernel import abi, syscalls
from ..kernel.worker import Reply, Serve

ASK, WATCH = b"A", b"W"
"""What is asked for, the first byte of a request: whether superblocks exist; to watch paths by an inotify(7)."""
MOST = 30
"""Most devices or paths of a request: that many of the longest paths are a request."""
NOT_YET, ENDED, LIVES = 0, 1, 2
"""Answers to ASK. One to WATCH is the watch, above 0. Below 0: the negative errno."""

_SEPARATOR = b"\0"


def request(what: bytes, items: Iterable[bytes]) -> bytes:
    """A request for these devices or paths, at most `MOST` of them."""
    return what + _SEPARATOR.join(items)


def start(page: "memoryview[int]") -> Serve:
    """In the child: ready to answer into `page`, which is NOT_YET for each item of a request."""

    def answer(data: bytes, fds: Sequence[int]) -> Reply:
        try:
            for at, item in enumerate(data[1:].split(_SEPARATOR)):
                page[at] = _answer(data[:1], item, fds)
        finally:
            for fd in fds:
                os.close(fd)
        return b"", []

    return answer


def _answer(what: bytes, item: bytes, fds: Sequence[int]) -> int:
    try:
        if what == WATCH:  # without IN_ONLYDIR, which would start an automount that the path ends at
            return syscalls.inotify_add_watch(fds[0], item, abi.IN_UNMOUNT)
        return LIVES if syscalls.is_superblock(item.decode()) else ENDED
    except OSError as error:
        return -(error.errno or errno.EIO)


def idle() -> None:
    """It keeps nothing that it could let go."""
