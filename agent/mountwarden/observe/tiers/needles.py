"""What the text of a namespace is searched for: what lines of copies have in them, before anything is parsed.

A layout whose mounts have a rare type, or whose mountpoints all have the same name, is searched for by that. All others
are found by their place: where the namespace shows the directory that they are in (views.py), and, wherever they are
mounted, by the identities of what home has or had there.
"""

from collections.abc import Iterable, Set
from dataclasses import dataclass

from ...model import Layout, MountClass
from ...mounts import mountinfo
from ...mounts.mountinfo import Lines
from ...mounts.roots import ANYWHERE

_TELLING_TYPES = ("overlay", "nsfs")
"""Types that are rare enough to be searched for by type; others by the last component of their layout's pattern."""

_FEW = 16
"""Strings that are each searched for in the whole text; where there are more, the fields of each line are looked at."""


def needle(layout: Layout) -> bytes | None:
    """A string that the line of any mount of the layout has, wherever it is; None: its place alone tells.

    Volumes are of any type, and their copies elsewhere have any name.
    """
    last = layout.pattern.rsplit(b"/", 1)[-1]
    if layout.mount_class is MountClass.VOLUME or layout.pattern == ANYWHERE:
        return None
    if layout.fstype in _TELLING_TYPES:
        return b" - %s " % layout.fstype.encode()
    return None if last == b"*" else b"/%s " % mountinfo.escape(last)


@dataclass(frozen=True, slots=True)
class Needles:
    """What is searched for in each namespace of a scan."""

    strings: tuple[bytes, ...] = ()
    """Types, and names of mountpoints."""
    identities: frozenset[tuple[bytes, bytes]] = frozenset()
    """(device, mnt_root), as mountinfo writes them."""

    def lines(self, text: bytes, places: Set[bytes]) -> Iterable[bytes]:
        """The lines that may be copies, each once and in no particular order; `places` are those of `Views.shown`."""
        lines = Lines(text)
        strings, more = list(self.strings), set[bytes]()
        if len(places) <= _FEW:
            # Without the last byte, a slash or a space: a search by a rarer one takes half the time.
            strings += (place[:-1] if len(place) > len(b" /") else place for place in places)
        else:
            more = {line for line in text.split(b"\n") if is_at(line, places)}
        if len(self.identities) <= _FEW // 2:
            strings += (b" %s %s " % identity for identity in self.identities)
        else:
            more |= {line for line in text.split(b"\n") if self._is_of_identity(line)}
        found = lines.holding(strings)
        return {*found, *more} if more else found

    def has(self, line: bytes) -> bool:
        """Whether a line may be a copy's by what is mounted, wherever that is."""
        return any(string in line for string in self.strings) or self._is_of_identity(line)

    def _is_of_identity(self, line: bytes) -> bool:
        fields = line.split(b" ", 4)
        return len(fields) == 5 and (fields[2], fields[3]) in self.identities


EVERY_LINE = Needles((b" - ",))
"""All that a kernel writes: for lines that were chosen already."""


def is_at(line: bytes, places: Set[bytes]) -> bool:
    """Whether the mount point begins with one of the places."""
    fields = line.split(b" ", 5)
    point = b" %s " % fields[4] if len(fields) == 6 else b""
    at = 0
    while (at := point.find(b"/", at) + 1) > 0:
        if point[:at] in places:
            return True
    return point in places


def needles(layouts: Iterable[Layout], identities: Iterable[tuple[str, bytes]]) -> Needles:
    """What is searched for, for these layouts and, wherever they are mounted, these (device, mnt_root)."""
    strings = {string for layout in layouts if (string := needle(layout)) is not None}
    return Needles(
        tuple(sorted(strings)),
        frozenset((device.encode(), mountinfo.escape(root)) for device, root in identities),
    )
