"""The files of a layer, below the home. The same as the `overlay` driver of Docker up to 23.0 had it.

An image is one whole tree, `root`. A container has `upper` and `work`, and `lower-id` names the image whose `root`
is below it; while it is in use the overlay is mounted on `merged`. `parent` is this driver's own note for repeated
requests.
"""

import os
import stat
from dataclasses import dataclass

from ..kernel import syscalls

ROOT = b"root"
UPPER = b"upper"
WORK = b"work"
MERGED = b"merged"
LOWER_ID = b"lower-id"
PARENT = b"parent"
UNFINISHED = b".new-"
APPLYING = b"tmproot"


@dataclass(frozen=True, slots=True)
class Layer:
    """The paths of one layer."""

    directory: bytes

    @property
    def root(self) -> bytes:
        """The whole tree of an image."""
        return os.path.join(self.directory, ROOT)

    @property
    def upper(self) -> bytes:
        """What a container changed."""
        return os.path.join(self.directory, UPPER)

    @property
    def work(self) -> bytes:
        """overlayfs's own."""
        return os.path.join(self.directory, WORK)

    @property
    def merged(self) -> bytes:
        """The mountpoint."""
        return os.path.join(self.directory, MERGED)

    def has_root(self) -> bool:
        """Whether it is an image."""
        return is_directory(self.root)

    def lower_id(self) -> str:
        """The image below a container."""
        return self._read(LOWER_ID)

    def parent(self) -> str | None:
        """What it was created on; None if another program made it."""
        try:
            return self._read(PARENT)
        except FileNotFoundError:
            return None

    def write(self, name: bytes, value: str) -> None:
        """Write one of the notes."""
        with open(os.path.join(self.directory, name), "x", encoding="ascii") as file:
            file.write(value)

    def _read(self, name: bytes) -> str:
        with open(os.path.join(self.directory, name), encoding="ascii") as file:
            return file.read()


def is_directory(path: bytes) -> bool:
    """Whether there is a directory. Unlike os.path.isdir, a file system that fails is an error and not a no."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def is_mounted(path: bytes) -> bool:
    """Whether something is mounted on a directory, in the caller's mount namespace. Nothing is opened."""
    try:
        here, above = syscalls.mount_id(_AT_FDCWD, path), syscalls.mount_id(_AT_FDCWD, os.path.dirname(path))
        if here is not None and above is not None:
            return here != above
        return os.lstat(path).st_dev != os.lstat(os.path.dirname(path)).st_dev  # before Linux 5.8
    except FileNotFoundError:
        return False


_AT_FDCWD = -100  # fcntl.h


def escaped(path: bytes) -> bytes:
    """A path as overlayfs reads it from its mount options: `:`, `,` and `\\` lose their meaning behind a backslash."""
    for character in (b"\\", b":", b","):
        path = path.replace(character, b"\\" + character)
    return path


def with_label(options: bytes, mount_label: str) -> bytes:
    """Mount options with an SELinux context for the whole mount (mount(8), context=)."""
    return options + b',context="%s"' % os.fsencode(mount_label) if mount_label else options
