"""A lock for each layer, against other threads and against other processes on the same home."""

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Entry:
    lock: threading.Lock = field(default_factory=threading.Lock)
    users: int = 0


class Locker:
    """Locks by name. One exists only as long as somebody holds it or waits for it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._entries: dict[str, _Entry] = {}

    @contextlib.contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Hold the lock of `name`. It is not reentrant."""
        with self._guard:
            entry = self._entries.setdefault(name, _Entry())
            entry.users += 1
        try:
            with entry.lock:
                yield
        finally:
            with self._guard:
                entry.users -= 1
                if not entry.users:
                    del self._entries[name]

    def __len__(self) -> int:
        return len(self._entries)


@contextlib.contextmanager
def hold_directory(path: bytes) -> Iterator[bool]:
    """flock(2) on a directory, so that another process on the same home waits too; False where there is none.

    The kernel drops the lock with the process, so a killed one leaves nothing behind. The directory is checked again
    after the wait: its last holder may have removed it.
    """
    while True:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            yield False
            return
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if _is_still(fd, path):
                yield True
                return
        finally:
            os.close(fd)


def _is_still(fd: int, path: bytes) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False
