"""The text of /proc/PID/mountinfo: bytes in, facts out. Nothing here opens a file.

A line, from proc_pid_mountinfo(5), Documentation/filesystems/proc.rst and fs/proc_namespace.c (show_mountinfo):

    36 35 98:0 /mnt1 /mnt2 rw,noatime shared:7 master:1 propagate_from:2 - ext3 /dev/root rw,errors=continue
    |  |  |    |     |     |          |                                  | |    |         |
    |  |  |    |     |     options    any number of tags                 | type source    super options
    |  |  device root  point                                              separator
    id parent

Root, point, source and options have space, tab, newline and backslash (source also '#') as octal escapes; any
other byte, valid UTF-8 or not, stands as it is. The type may have a ".subtype". Source may be empty, and is then
two spaces in a row. A field may be of any length up to that of a line (the kernel skips longer mounts).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from ..model import Mount

_ESCAPE = re.compile(rb"\\([0-7]{3})")
_ESCAPED = re.compile(rb"[\\ \t\n]")
_DEVICE = re.compile(rb"[0-9]+:[0-9]+")
_LONGEST_NUMBER = 19
"""Most digits of a number that is below 2**64 whatever they are; the kernel's ids in mountinfo are int."""
NO_NUMBER = "the mount id or its parent is not a number"
"""A reason why a line is unreadable."""
_TAGS = {b"shared": 0, b"master": 1, b"propagate_from": 2}


def unescape(field: bytes) -> bytes:
    r"""Undo mangle()'s octal escapes: ``\040`` is a space. Everything else stays as it is."""
    return _ESCAPE.sub(lambda match: bytes((int(match[1], 8) & 0xFF,)), field) if b"\\" in field else field


def escape(field: bytes) -> bytes:
    r"""A path as mangle() of the kernel writes it: space, tab, newline and backslash as octal escapes."""
    return _ESCAPED.sub(lambda match: b"\\%03o" % match[0][0], field) if _ESCAPED.search(field) else field


def is_number(text: bytes) -> bool:
    """Whether it is a number as the kernel writes one; int() accepts more, and raises for thousands of digits."""
    return len(text) <= _LONGEST_NUMBER and text.isdigit()


def are_numbers(texts: Sequence[bytes]) -> bool:
    """The same for all of `texts`, of which there may be none."""
    return not texts or (
        b"".join(texts).isdigit() and 0 < min(map(len, texts)) <= max(map(len, texts)) <= _LONGEST_NUMBER
    )


class Unreadable(ValueError):
    """A line that is no mount. Its text is the reason."""


def parse_line(line: bytes, uniques: Mapping[bytes, int] = MappingProxyType({})) -> Mount:
    """One line, without its newline; `uniques` are unique ids by small ones. Raises: Unreadable with the reason."""
    identity, parent, rest = split(line)
    return build(identity, parent, parse_rest(rest), uniques.get(line[: line.index(b" ")]))


def split(line: bytes) -> tuple[int, int, bytes]:
    """The mount id, its parent, and the rest of a line. Raises: Unreadable with the reason."""
    head = line.split(b" ", 2)
    if len(head) != 3:
        raise Unreadable("fewer fields than an id, a parent and a mount")
    if not is_number(head[0]) or not is_number(head[1]):
        raise Unreadable(NO_NUMBER)
    return int(head[0]), int(head[1]), head[2]


Rest = tuple[str, bytes, bytes, bytes, int, int, int, bool, str, bytes, bytes]
"""A line without its two ids; copies of a mount in many namespaces often share it to the byte."""


def parse_rest(rest: bytes) -> Rest:
    """All fields after the two ids. Raises: Unreadable with the reason."""
    left, separator, right = rest.partition(b" - ")
    if not separator:
        raise Unreadable("no separator")
    fields = left.split(b" ")
    if len(fields) < 4:
        raise Unreadable("fewer fields than device, root, mount point and options")
    if not _DEVICE.fullmatch(fields[0]):
        raise Unreadable("the device is not major:minor")
    shared, master, origin, unbindable = _tags(fields[4:])
    fstype, source, super_options = _file_system(right)
    return (
        fields[0].decode(),
        unescape(fields[1]),
        unescape(fields[2]),
        fields[3],
        shared,
        master,
        origin,
        unbindable,
        fstype,
        source,
        super_options,
    )


def _tags(tags: list[bytes]) -> tuple[int, int, int, bool]:
    groups = [0, 0, 0]
    unbindable = False
    for tag in tags:
        name, _colon, value = tag.partition(b":")
        if name == b"unbindable":
            unbindable = True
        elif name in _TAGS:
            if not is_number(value):
                raise Unreadable("a peer group is not a number")
            groups[_TAGS[name]] = int(value)
        # An unknown tag is a newer kernel's; proc_pid_mountinfo(5) says that parsers are to ignore it.
    return groups[0], groups[1], groups[2], unbindable


def _file_system(right: bytes) -> tuple[str, bytes, bytes]:
    fields = right.split(b" ")
    if len(fields) < 3:
        raise Unreadable("fewer fields than type, source and super options")
    # The kernel escapes spaces in a source; a file system may print some in its options, which come last.
    fstype = fields[0].decode("utf-8", "surrogateescape")
    return fstype, unescape(fields[1]), b" ".join(fields[2:])


def build(identity: int, parent: int, rest: Rest, unique: int | None = None) -> Mount:
    """The Mount with these ids and this rest of its line."""
    return Mount(identity, parent, *rest, unique)


def propagation(mount: Mount) -> str:
    """The mount's propagation in findmnt(8)'s words: shared, slave, both, private or unbindable."""
    words = [word for word, group in (("shared", mount.shared), ("slave", mount.master)) if group]
    return ",".join(words) or ("unbindable" if mount.unbindable else "private")


def parse(text: bytes, uniques: Mapping[bytes, int] = MappingProxyType({})) -> tuple[list[Mount], dict[str, int]]:
    """Every mount of a text, and how many lines were unreadable, by reason."""
    mounts: list[Mount] = []
    unreadable: dict[str, int] = {}
    for line in text.split(b"\n"):
        if not line:
            continue
        try:
            mounts.append(parse_line(line, uniques))
        except Unreadable as error:
            unreadable[str(error)] = unreadable.get(str(error), 0) + 1
    return mounts, unreadable


_HEAD = re.compile(rb"(?m)^([0-9]{1,19}) [0-9]+ ([0-9]+:[0-9]+) ")


def heads(text: bytes) -> list[tuple[bytes, bytes]]:
    """The small mount id and the device (major:minor) of each line, as written, without parsing the rest."""
    return _HEAD.findall(text)


@dataclass(frozen=True, slots=True)
class Lines:
    """Finds a few mounts in a text without parsing the rest of it."""

    text: bytes

    def holding(self, needles: Iterable[bytes]) -> Iterable[bytes]:
        """Each line that has any of the needles, once, in no particular order."""
        text, lines = self.text, dict[int, bytes]()
        find, rfind = text.find, text.rfind  # this loop is a third of the cost of a scan beside the reading
        for needle in needles:
            at = find(needle)
            while at >= 0:
                start = rfind(b"\n", 0, at) + 1
                end = find(b"\n", at)
                lines[start] = text[start : end if end >= 0 else len(text)]
                at = find(needle, end) if end >= 0 else -1
        return lines.values()

    def by_id(self, identity: int | bytes) -> bytes | None:
        """The line of that mount id, a number or as it is written."""
        prefix = b"%d " % identity if isinstance(identity, int) else identity + b" "
        if self.text.startswith(prefix):
            start = 0
        else:
            start = self.text.find(b"\n" + prefix) + 1
            if start == 0:
                return None
        end = self.text.find(b"\n", start)
        return self.text[start : end if end >= 0 else len(self.text)]
