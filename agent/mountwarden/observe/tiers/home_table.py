"""A home's table from its mountinfo: of FUSE mounts, which any user can make there, no more than what is needed."""

from collections.abc import Mapping, Sequence, Set

from ...model import Mount
from ...mounts import mountinfo
from ...mounts.table import Table
from ..mount_lines import TOO_LONG, MountLines, ReadingLimits
from .delta import TextNeeded
from .unique_ids import UniqueIds

HOME = ReadingLimits(size=1 << 62, seconds=30.0)
"""What the reading of a home may take: nobody can be told of what is not known of home."""

_FUSE = (b" - fuse ", b" - fuse.")


def home_table(
    lines: MountLines,
    paths: Sequence[bytes],
    uniques: UniqueIds | None = None,
    parsed: dict[bytes, Mount] | None = None,
) -> Table:
    """The table of all mounts.

    `parsed` are the mounts of the last reading for these paths, by line, and then those of this one: between two
    readings most lines are the same. A FUSE mount that is on the way to none of the `paths` and below none of them has
    an empty mount point: fusermount3 gives each user a thousand, whose paths and sources are as long as the user likes.
    Raises: OSError as reading does.
    """
    parsed = {} if parsed is None else parsed
    mounts: list[Mount] = []
    kept: dict[bytes, Mount] = {}
    unreadable: dict[str, int] = {}
    uniques = UniqueIds() if uniques is None else uniques
    escaped = tuple(mountinfo.escape(path) for path in paths)
    for block in lines.blocks():
        uniques.take(block)
        for line in filter(None, block.split(b"\n")):
            mount = parsed.get(line)
            if mount is None or (uniques and mount.unique != uniques.get(line.partition(b" ")[0])):
                short = _shortened(line, escaped)
                mount = _parsed(short, uniques, unreadable)
                if mount is None or short is not line:
                    mounts += (mount,) if mount else ()
                    continue
            kept[line] = mount
            mounts.append(mount)
    if lines.too_long:
        unreadable[TOO_LONG] = lines.too_long
    parsed.clear()
    parsed.update(kept)
    return Table(mounts, unreadable)


def caught_up(table: Table, removed: Set[int], added: Mapping[int, bytes], paths: Sequence[bytes]) -> Table:
    """The table without the mounts of the `removed` unique ids, and with those of the `added` ones, by their lines.

    Raises: TextNeeded where others may have got another parent, which no event says: a mount that propagates to where
    one is already is put beneath it, and what is on a mount that goes may stay (mnt_change_mountpoint() of
    fs/namespace.c); mountinfo.Unreadable.
    """
    escaped = tuple(mountinfo.escape(path) for path in paths)
    mounts = [mount for mount in table.mounts if mount.unique not in removed]
    gone = {mount.id for mount in table.mounts if mount.unique in removed}
    points = {mount.point for mount in mounts}
    if any(mount.parent in gone for mount in mounts):
        raise TextNeeded
    for unique in sorted(added):  # in the kernel's order, as in a text
        line = added[unique]
        mount = mountinfo.parse_line(_shortened(line, escaped), {line.partition(b" ")[0]: unique})
        if mount.point in points and mount.point:
            raise TextNeeded
        points.add(mount.point)
        mounts.append(mount)
    return Table(mounts, table.unreadable)


def _parsed(line: bytes, uniques: UniqueIds, unreadable: dict[str, int]) -> Mount | None:
    try:
        return mountinfo.parse_line(line, uniques)
    except mountinfo.Unreadable as error:
        unreadable[str(error)] = unreadable.get(str(error), 0) + 1
        return None


def _shortened(line: bytes, paths: Sequence[bytes]) -> bytes:
    if not any(kind in line for kind in _FUSE):
        return line
    fields = line.split(b" ", 6)
    if len(fields) < 7 or any(_is_near(fields[4], path) for path in paths):
        return line
    fstype = line.rpartition(b" - ")[2].partition(b" ")[0]
    return b" ".join((*fields[:4], b"", fields[5], b"- " + fstype, b"", b"rw"))


def _is_near(point: bytes, path: bytes) -> bool:
    """Whether a mount there is on the way to the path, or below it."""
    slash = b"/" if not point.endswith(b"/") else b""
    return point == path or path.startswith(point + slash) or point.startswith(path.rstrip(b"/") + b"/")
