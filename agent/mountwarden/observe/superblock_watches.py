"""An inotify(7) watch on each superblock that home has: IN_UNMOUNT when the *superblock* ends. See `superblocks`.

The descriptor is this process's, where reading it never waits; only the lookup of a mountpoint is the child's.
"""

import errno
import os
from collections.abc import Collection, Iterable, Mapping, Sequence

from ..errors import NoAnswer
from ..kernel import abi, syscalls
from ..kernel.kept_worker import LEFT_BEHIND
from ..kernel.probe import explained
from . import superblock_child
from .superblock_server import MOST, WATCH

_READ = 1 << 16
_FULL = "the user's limit of inotify watches is reached (fs.inotify.max_user_watches)"


class SuperblockWatches:
    """One watch for each superblock, until it ends. While one is there, no other superblock has its number."""

    def __init__(self) -> None:
        self._fd = -1
        self._owner = 0
        """The process that opened it: one that was forked since must not read its events."""
        self._given: dict[str, bytes] = {}
        self._changed = False
        """Whether watches have ended since `follow`."""
        self._watch: dict[str, int] = {}
        self._device: dict[int, str] = {}
        self._ended = set[str]()
        self._full = False

    def failure(self) -> str | None:
        """Why there can be no watch at all; None where there can."""
        try:
            self._open()
        except OSError as error:
            return f"inotify: {', '.join(explained(error))}"
        return None

    @property
    def lacks(self) -> str | None:
        """Why some superblocks are not watched that could be; None where all are."""
        return _FULL if self._full else None

    def follow(self, mounts: Mapping[str, bytes]) -> None:
        """Watch what is new in `mounts`, or has another superblock now. See `Superblocks.follow`. Raises: OSError."""
        self._open()
        self._read()
        if mounts == self._given and not self._changed:
            return
        self._given, self._changed = dict(mounts), False
        new = {device: path for device, path in mounts.items() if device not in self._watch}
        self._ended.difference_update(new)
        self._keep(new, self._asked([*new.values()]))

    def lives(self, devices: Iterable[str]) -> dict[str, bool]:
        """See `Superblocks.ask`."""
        if self._is_ours():
            self._read()
        known = {device: True for device in devices if device in self._watch}
        return known | {device: False for device in devices if device in self._ended}

    def close(self) -> None:
        """Give up all watches."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._given = -1, {}
        for known in (self._watch, self._device, self._ended):
            known.clear()

    def _is_ours(self) -> bool:
        if self._owner != os.getpid():
            self.close()
        return self._fd >= 0

    def _open(self) -> None:
        if not self._is_ours():
            self._fd, self._owner = syscalls.inotify_init(), os.getpid()

    def _asked(self, paths: Sequence[bytes]) -> dict[bytes, int]:
        """By path, the watch on what it leads to, as far as there is one."""
        got: dict[bytes, int] = {}
        self._full = False
        for start in range(0, len(paths), MOST):
            part = self._part(paths[start : start + MOST])
            got |= {path: watch for path, watch in part.items() if watch > 0}
            self._full = -errno.ENOSPC in part.values()
            if self._full or superblock_child.stuck():
                break
        return got

    def _part(self, paths: Collection[bytes]) -> dict[bytes, int]:
        """What the child answers. Where a lookup hangs, what is behind it is asked again."""
        got: dict[bytes, int] = {}
        for _attempt in range(LEFT_BEHIND):
            left = [path for path in paths if path not in got]
            try:
                got |= superblock_child.answers(WATCH, left, [self._fd])
            except NoAnswer:
                break
            if len(got) == len(paths) or not superblock_child.hanging():
                break
        return got

    def _keep(self, mounts: Mapping[str, bytes], watches: Mapping[bytes, int]) -> None:
        """Those that are on the superblock of that number: another mount may be on the path by now."""
        devices = syscalls.watched_devices(self._fd) if watches else {}
        for device, path in mounts.items():
            watch = watches.get(path, 0)
            if devices.get(watch) == device:
                self._watch[device], self._device[watch] = watch, device
        for watch in watches.values():
            if watch not in self._device:
                self._remove(watch)

    def _remove(self, watch: int) -> None:
        try:
            syscalls.inotify_rm_watch(self._fd, watch)
        except OSError:  # it has ended
            return

    def _read(self) -> None:
        """Take in what the kernel has queued."""
        while True:
            try:
                data = os.read(self._fd, _READ)
            except BlockingIOError:
                return
            at = 0
            while at < len(data):
                watch, mask, _cookie, length = abi.INOTIFY_EVENT.unpack_from(data, at)
                at += abi.INOTIFY_EVENT.size + length
                if mask & abi.IN_Q_OVERFLOW:
                    self.close()
                    self._open()
                    return
                self._take(watch, mask)

    def _take(self, watch: int, mask: int) -> None:
        device = self._device.pop(watch, None)
        if device is None:
            return
        del self._watch[device]
        self._changed = True
        if mask & abi.IN_UNMOUNT:
            self._ended.add(device)
