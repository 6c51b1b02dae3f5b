"""Writing an initramfs: cpio in the "newc" form of the kernel's initramfs-buffer-format.rst. Archives may be joined."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO

_FIELDS = 13
_END = "TRAILER!!!"


class Archive:
    """Entries are owned by root. A directory that an entry is in is made when it was not written yet."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._written: set[str] = set()
        self._numbers = 0

    def directory(self, name: str, mode: int = 0o755) -> None:
        """A directory; one that was written already is left alone."""
        if name and name not in self._written:
            self._entry(name, stat.S_IFDIR | mode)

    def file(self, name: str, data: bytes, mode: int = 0o644, mtime: float = 0) -> None:
        """A regular file."""
        self._entry(name, stat.S_IFREG | mode, data, mtime)

    def device(self, name: str, mode: int, major: int, minor: int) -> None:
        """A character device: the kernel opens dev/console before anything is mounted."""
        self._entry(name, stat.S_IFCHR | mode, device=(major, minor))

    def tree(self, source: Path, below: str = "", *, skipped: Callable[[str], bool]) -> None:
        """Everything in `source`, except what `skipped` says of its path below it. No devices, sockets, pipes."""
        for place, directories, files in os.walk(source):
            inner = os.path.relpath(place, source)
            kept = [n for n in sorted(directories) if not skipped(os.path.normpath(f"{inner}/{n}"))]
            directories[:] = kept
            for name in (*kept, *sorted(files)):
                path = os.path.normpath(f"{inner}/{name}")
                if not skipped(path):
                    self._copy(Path(place, name), os.path.normpath(f"{below}/{path}").lstrip("/"))

    def close(self) -> None:
        """Write the end of the archive. The file stays open."""
        self._entry(_END, 0)
        self._file.write(bytes(-self._file.tell() % 512))

    def _copy(self, source: Path, name: str) -> None:
        status = source.lstat()
        mode = stat.S_IMODE(status.st_mode)
        if stat.S_ISLNK(status.st_mode):
            self._entry(name, status.st_mode, os.fsencode(os.readlink(source)), status.st_mtime)
        elif stat.S_ISDIR(status.st_mode):
            self.directory(name, mode)
        elif stat.S_ISREG(status.st_mode):
            self.file(name, source.read_bytes(), mode, status.st_mtime)

    def _entry(
        self, name: str, mode: int, data: bytes = b"", mtime: float = 0, device: tuple[int, int] = (0, 0)
    ) -> None:
        self.directory(os.path.dirname(name))
        self._written.add(name)
        self._numbers += 1
        text = os.fsencode(name) + b"\0"
        fields = (self._numbers, mode, 0, 0, 1, int(mtime), len(data), 0, 0, *device, len(text), 0)
        assert len(fields) == _FIELDS
        self._file.write(b"070701" + b"".join(b"%08x" % field for field in fields))
        self._file.write(text + bytes(-(110 + len(text)) % 4))
        self._file.write(data + bytes(-len(data) % 4))
