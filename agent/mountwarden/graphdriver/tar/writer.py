"""Writing the difference of two layers as an uncompressed tar: PAX, as Docker and the OCI image specification have it.

Times keep their nanoseconds; ids are those that the container sees. Files are written whole, holes as zeros: Docker
takes the tar apart and puts it together again from the files, which a sparse map would not survive.
"""

import os
import stat
import tarfile
from typing import BinaryIO

from .. import xattrs
from ..beneath import RootDirectory, by_fd, printable
from ..driver import Change, ChangeKind, GraphdriverError
from ..idmap import IdMaps
from .extract import WHITEOUT
from .format import BLOCK, XATTR, padded, time_text

_CHUNK = 1 << 20
_END = bytes(2 * BLOCK)
_TYPES = {
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
}


def write_layer(root: RootDirectory, changes: list[Change], stream: BinaryIO, maps: IdMaps) -> int:
    """Write `changes` of the tree at `root` to `stream`; how many bytes. Sockets are left out: no tar can hold one."""
    with _Writer(root, stream, maps) as writer:
        for change in changes:
            writer.add(change)
        writer.put(_END)
        return writer.written


class _Writer:
    def __init__(self, root: RootDirectory, stream: BinaryIO, maps: IdMaps) -> None:
        self._root = root
        self._stream = stream
        self._maps = maps
        self._parent: tuple[bytes, int] | None = None
        self._names: dict[tuple[int, int], bytes] = {}
        self._buffer = memoryview(bytearray(_CHUNK))
        self.written = 0

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._parent:
            os.close(self._parent[1])

    def put(self, data: bytes | memoryview) -> None:
        self._stream.write(data)
        self.written += len(data)

    def add(self, change: Change) -> None:
        path = change.path.lstrip(b"/")
        parent, _, name = path.rpartition(b"/")
        if change.kind is ChangeKind.DELETE:
            self.put(_header(tarfile.TarInfo(_text(os.path.join(parent, WHITEOUT + name))), {}))
            return
        fd = self._open(parent)
        found = os.stat(name, dir_fd=fd, follow_symlinks=False)
        kind = _TYPES.get(stat.S_IFMT(found.st_mode))
        if kind is not None:
            self._member(fd, name, path, found, kind)

    def _open(self, parent: bytes) -> int:
        """The directory of a member; changes come sorted, so the last one is kept open."""
        if self._parent is None or self._parent[0] != parent:
            fd = self._root.open_directory(parent)
            if self._parent:
                os.close(self._parent[1])
            self._parent = (parent, fd)
        return self._parent[1]

    def _member(self, fd: int, name: bytes, path: bytes, found: os.stat_result, kind: bytes) -> None:
        info = tarfile.TarInfo(_text(path))
        info.type = kind
        info.mode = stat.S_IMODE(found.st_mode)
        info.uid, info.gid = self._maps.container(found.st_uid, found.st_gid)
        extra = _time(info, found.st_mtime_ns)
        if kind in (tarfile.CHRTYPE, tarfile.BLKTYPE):
            info.devmajor, info.devminor = os.major(found.st_rdev), os.minor(found.st_rdev)
        if kind == tarfile.SYMTYPE:
            info.linkname = _text(os.readlink(name, dir_fd=fd))
        elif found.st_nlink > 1 and kind != tarfile.DIRTYPE:
            first = self._names.setdefault((found.st_dev, found.st_ino), path)
            if first != path:
                info.type, info.linkname = tarfile.LNKTYPE, _text(first)
                self.put(_header(info, extra))
                return
        extra.update(self._attributes(by_fd(fd, name)))
        if kind == tarfile.REGTYPE:
            self._file(fd, name, info, extra, found)
        else:
            self.put(_header(info, extra))

    def _attributes(self, path: bytes) -> dict[str, str]:
        values = xattrs.read(path, filter(xattrs.travels, xattrs.names(path)))
        prefix = XATTR.decode()
        return {prefix + name: _text(value) for name, value in xattrs.to_layer(values, self._maps).items()}

    def _file(self, fd: int, name: bytes, info: tarfile.TarInfo, extra: dict[str, str], found: os.stat_result) -> None:
        source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=fd)
        try:
            if not os.path.samestat(os.fstat(source), found):
                raise GraphdriverError(f"{printable(name)} was replaced while the layer was read")
            info.size = found.st_size
            self.put(_header(info, extra))
            left = info.size
            while left:
                count = os.readv(source, [self._buffer[: min(left, _CHUNK)]])
                if not count:
                    raise GraphdriverError(f"{printable(name)} became shorter while the layer was read")
                self.put(self._buffer[:count])
                left -= count
            self.put(bytes(padded(info.size) - info.size))
        finally:
            os.close(source)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _time(info: tarfile.TarInfo, mtime: int) -> dict[str, str]:
    """The whole seconds go into the header, a finer or earlier time into an extended one."""
    info.mtime = max(0, mtime // 10**9)
    return {} if mtime == info.mtime * 10**9 else {"mtime": time_text(mtime)}


def _header(info: tarfile.TarInfo, extra: dict[str, str]) -> bytes:
    info.pax_headers = extra
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
