"""Layer tars for tests, written with the standard library, and looks at what became of them."""

import io
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

TIME = 1_600_000_000


def entry(name: str, kind: bytes = tarfile.REGTYPE, **fields: Any) -> tarfile.TarInfo:
    """A member with any field of TarInfo; `xattrs` become PAX records."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    info.mtime = TIME
    for key, value in fields.items():
        if key == "xattrs":
            info.pax_headers = {f"SCHILY.xattr.{n}": v.decode("utf-8", "surrogateescape") for n, v in value.items()}
        else:
            setattr(info, key, value)
    return info


def directory(name: str, **fields: Any) -> tarfile.TarInfo:
    return entry(name, tarfile.DIRTYPE, **fields)


def symlink(name: str, target: str, **fields: Any) -> tarfile.TarInfo:
    return entry(name, tarfile.SYMTYPE, linkname=target, **fields)


def hardlink(name: str, target: str, **fields: Any) -> tarfile.TarInfo:
    return entry(name, tarfile.LNKTYPE, linkname=target, **fields)


Entry = tarfile.TarInfo | tuple[tarfile.TarInfo | str, bytes]


def tar(*entries: Entry, format: int = tarfile.PAX_FORMAT) -> io.BytesIO:
    """An archive of members; a pair is a file (or its name) with its content."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format, errors="surrogateescape") as archive:
        for item in entries:
            info, data = item if isinstance(item, tuple) else (item, b"")
            if isinstance(info, str):
                info = entry(info)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    out.seek(0)
    return out


def names(archive: io.BytesIO) -> list[str]:
    """The members' names, from the start of the stream."""
    archive.seek(0)
    with tarfile.open(fileobj=archive, errors="surrogateescape") as opened:
        return [member.name for member in opened]


def tree(root: bytes | str) -> dict[str, str]:
    """All below a directory: path -> what it is, as text that is easy to compare."""
    top = Path(os.fsdecode(root))
    return {str(path.relative_to(top)): describe(path) for path in _walk(top)}


def _walk(top: Path) -> Iterator[Path]:
    for path in sorted(top.iterdir()):
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)


def describe(path: Path) -> str:
    found = path.lstat()
    mode = f"{stat.filemode(found.st_mode)} {found.st_uid}:{found.st_gid}"
    if path.is_symlink():
        return f"{mode} -> {os.readlink(path)}"
    if stat.S_ISREG(found.st_mode):
        data = path.read_bytes()
        return f"{mode} {found.st_mtime_ns} {data!r}" if len(data) < 100 else f"{mode} {found.st_mtime_ns} {hash(data)}"
    if stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode):
        return f"{mode} {os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"
    return mode


def contents(root: bytes | str) -> dict[str, bytes]:
    """The regular files below a directory, with their content."""
    top = Path(os.fsdecode(root))
    return {str(p.relative_to(top)): p.read_bytes() for p in _walk(top) if p.is_file() and not p.is_symlink()}


def many(count: int, content: bytes = b"x") -> Iterable[Entry]:
    """So many files in directories of a hundred."""
    for number in range(count):
        if number % 100 == 0:
            yield directory(f"d{number // 100}")
        yield f"d{number // 100}/f{number}", content + b"%d" % number


def block(name: bytes = b"f", kind: bytes = tarfile.REGTYPE, link: bytes = b"", **numbers: bytes) -> bytes:
    """One header block whose fields hold these bytes, whatever they are."""
    places = {"mode": (100, 8), "uid": (108, 8), "gid": (116, 8), "size": (124, 12), "mtime": (136, 12)}
    places |= {"major": (329, 8), "minor": (337, 8), "real": (483, 12)}
    data = bytearray(512)
    data[:100], data[156:157], data[157:257] = name.ljust(100, b"\0"), kind, link.ljust(100, b"\0")
    data[257:265] = b"ustar  \0" if "real" in numbers else b"ustar\x0000"
    for key, (start, size) in places.items():
        if key != "real" or key in numbers:
            data[start : start + size] = numbers.get(key, b"0").ljust(size, b"\0")
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data)
    return bytes(data)


def base256(value: int, size: int) -> bytes:
    """A number as GNU tar writes those that octal digits can't hold."""
    data = (value & (1 << 8 * size) - 1).to_bytes(size, "big")
    return bytes([data[0] | 0x80]) + data[1:]


def records(*pairs: tuple[bytes, bytes], length: int = 0) -> bytes:
    """A PAX header with these records; `length` is added to what the last one says of itself."""
    data = b""
    for number, (key, value) in enumerate(pairs, 1):
        body = b" %b=%b\n" % (key, value)
        size = next(n for n in range(len(body), len(body) + 8) if n == len(body) + len(str(n)))
        data += b"%d%b" % (size + (length if number == len(pairs) else 0), body)
    header = block(b"pax", tarfile.XHDTYPE, size=b"%o" % len(data))
    return header + data.ljust(-(-len(data) // 512) * 512, b"\0")


def end() -> bytes:
    """What ends an archive."""
    return bytes(1024)
