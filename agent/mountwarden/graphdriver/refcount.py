"""How often each mountpoint is in use, counted so that a restarted driver agrees with what is mounted."""

import threading
from collections.abc import Callable


class RefCounter:
    """Counts gets and puts of a mountpoint.

    One that is mounted already when it is first counted has one use: an earlier process of this driver mounted it, and
    the engine still counts on that. `mounted` answers for a path; it is asked once for each path that comes into use.
    """

    def __init__(self, mounted: Callable[[bytes], bool]) -> None:
        self._mounted = mounted
        self._guard = threading.Lock()
        self._counts: dict[bytes, int] = {}

    def increment(self, path: bytes) -> int:
        """One use more; the uses that there are now."""
        return self._add(path, 1)

    def decrement(self, path: bytes) -> int:
        """One use less; the uses that are left, below one for a path that nobody uses any more."""
        return self._add(path, -1)

    def forget(self, path: bytes | None = None) -> None:
        """Drop the count of a path, or all of them: the next call asks the kernel again."""
        with self._guard:
            if path is None:
                self._counts.clear()
            else:
                self._counts.pop(path, None)

    def _add(self, path: bytes, step: int) -> int:
        with self._guard:
            count = self._counts.get(path)
            if count is None:
                count = 1 if self._mounted(path) else 0
            count += step
            if count > 0:
                self._counts[path] = count
            else:
                self._counts.pop(path, None)
            return count
