"""What the running service alone knows: its confirmed findings that this look did not make, where they still hold.

Most of them hang on what was seen before, which no single look has. The service's report may be some seconds old, so
each finding is looked for once more; what can't be read now is no absence.
"""

from functools import cached_property

from ..errors import NoAnswer
from ..escape import printable
from ..model import Kind, Mount, is_on_block_device
from ..mounts.mountinfo import Lines, Unreadable, parse_line
from ..observe.namespaces import read_mountinfo
from ..output import report_file
from ..report import types
from ..scan.confirm import ConfirmedScan
from ..scan.scanner import Scan
from .service_report import Agents

_BY_ANY_LOOK = (Kind.SEVERED, Kind.PRIVATE_ROOT)
"""Kinds that hang on propagation as it is now, and not on any history."""


def alone(agent: Agents, found: ConfirmedScan) -> list[types.FindingJson]:
    """The service's findings, as it wrote them, that are to be told beside those of the look."""
    own = {finding.id for finding in found.findings}
    now = _Now(found.seen)
    return [one for one in agent.findings if one["confirmed"] and one["id"] not in own and now.has(one)]


class _Now:
    """Answers whether a finding still holds; each namespace is read at most once."""

    def __init__(self, seen: Scan) -> None:
        picture = seen.picture
        self._spaces, self._home = picture.namespaces, picture.home_identities
        self._judged = {printable(state.root.path) for state in picture.roots if state.status == "ok"}
        self._unread = {gap.namespace for gap in seen.gaps}
        self._lines: dict[int, Lines | None] = {}

    def has(self, finding: types.FindingJson) -> bool:
        """Whether what the finding tells of is there now, as far as that can be seen."""
        inode = finding["namespace"]["inode"]
        if finding["kind"] == Kind.PINNED:
            return any(report_file.alive(holder["pid"]) for holder in finding["holders"])
        if finding["kind"] in _BY_ANY_LOOK and finding["root"] in self._judged and inode not in self._unread:
            return False
        return inode is not None and self._is_populated(inode, finding["kind"]) and self._shows(inode, finding)

    def _is_populated(self, inode: int, kind: str) -> bool:
        space = self._spaces.get(inode)
        return space is not None and (kind != Kind.ORPHANED or bool(space.pids))

    def _shows(self, inode: int, finding: types.FindingJson) -> bool:
        if inode not in self._lines:
            self._lines[inode] = self._read(inode)
        lines, identity = self._lines[inode], finding["mount_id"]["small"]
        if lines is None or identity is None:
            return True
        line = lines.by_id(identity)
        try:
            return line is not None and self._is_that(parse_line(line), finding)
        except Unreadable:
            return True

    def _read(self, inode: int) -> Lines | None:
        """Empty where nobody is in it any more; None where it can't be read."""
        space = self._spaces[inode]
        try:
            return Lines(read_mountinfo(inode, space.pids, space.door) or b"")
        except (OSError, NoAnswer):
            return None

    def _is_that(self, mount: Mount, finding: types.FindingJson) -> bool:
        """The same mount, and not in use at home again. Mount ids are reused at once, so the rest must be the same."""
        told = (finding["device"], finding["fstype"], finding["seen_at"])
        if told != (mount.device, printable(mount.fstype), printable(mount.point)):
            return False
        if finding["kind"] not in (Kind.LEAKED, Kind.ORPHANED):
            return True
        return not self._is_at_home(mount, by_device=finding["kind"] == Kind.LEAKED and is_on_block_device(mount))

    def _is_at_home(self, mount: Mount, *, by_device: bool) -> bool:
        return mount.device in self._devices if by_device else mount.identity in self._home

    @cached_property
    def _devices(self) -> frozenset[str]:
        """What home has mounted anything of."""
        return frozenset(device for device, _root in self._home)
