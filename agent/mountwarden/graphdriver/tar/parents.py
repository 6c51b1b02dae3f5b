"""The directories that the members of a layer tar lie in, opened or made beneath the layer's root."""

import os

from ..beneath import RootDirectory, printable
from ..idmap import IdMaps
from .format import BadArchive

_OPEN = 16
"""How many descriptors are kept."""


class Parents:
    """The directories of members by the members' paths. The last ones stay open until `forget`."""

    def __init__(self, root: RootDirectory, maps: IdMaps) -> None:
        self._root = root
        self._maps = maps
        self._place = os.readlink(b"/proc/self/fd/%d" % root.fd)
        self._open: dict[bytes, tuple[int, bytes]] = {}
        self.unpacked: set[bytes] = set()
        """What this layer brought, with the directories on the way to it: paths with all links resolved."""

    def open(self, path: bytes) -> tuple[int, bytes]:
        """A directory, made if it is missing: its descriptor, which stays ours, and its path with all links resolved.

        Raises: OSError, Escape; BadArchive where a link to nothing is on the way.
        """
        found = self._open.get(path)
        if found is None:
            found = self._open_or_make(path)
            if len(self._open) >= _OPEN:
                os.close(self._open.pop(next(iter(self._open)))[0])
            self._open[path] = found
        return found

    def forget(self) -> None:
        """Close the descriptors: a name on the way to one may mean another directory from now on."""
        for fd, _ in self._open.values():
            os.close(fd)
        self._open.clear()

    def real_path(self, fd: int, path: bytes) -> bytes:
        """The path below the root of an open directory, with all links resolved."""
        try:
            place = os.readlink(b"/proc/self/fd/%d" % fd)
        except OSError:  # deeper than PATH_MAX
            return path
        return place[len(self._place) :].lstrip(b"/") if place.startswith(self._place) else path

    def _open_or_make(self, path: bytes) -> tuple[int, bytes]:
        try:
            fd = self._root.open_directory(path)
        except FileNotFoundError:
            fd = self._make(path)
        real = self.real_path(fd, path)
        while real and real not in self.unpacked:
            self.unpacked.add(real)
            real = real.rpartition(b"/")[0]
        return fd, self.real_path(fd, path)

    def _make(self, path: bytes) -> int:
        """Make what is missing of a path, owned by root as no member says otherwise."""
        fd = os.dup(self._root.fd)
        done, fresh = b"", False
        for part in path.split(b"/"):
            done = join(done, part)
            try:
                if fresh:
                    raise FileNotFoundError
                below = self._root.open_directory(done)
            except FileNotFoundError:
                fresh = True
                try:
                    below = make_directory(fd, part)
                    os.fchown(below, *self._maps.root())
                    os.fchmod(below, 0o755)
                except FileExistsError:
                    raise BadArchive(f"{printable(done)} is a link to nothing, and a member lies below it") from None
                finally:
                    os.close(fd)
            else:
                os.close(fd)
            fd = below
        return fd


def make_directory(fd: int, name: bytes) -> int:
    """Make a directory in another one and open it; the caller closes it. Raises: OSError."""
    os.mkdir(name, 0o700, dir_fd=fd)
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)


def join(parent: bytes, name: bytes) -> bytes:
    """The path of a name in a directory below the root; b"" is the root itself."""
    return parent + b"/" + name if parent else name
