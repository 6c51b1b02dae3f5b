"""What the running service alone knows: its confirmed findings that this scan did not make, where they still hold.

Most of them depend on earlier scans, which a single scan does not have. The service's report may be some seconds old,
so each finding is checked once more; what can't be read now counts as present.
"""

from collections.abc import Iterable
from functools import cached_property

from ..errors import NoAnswer
from ..escape import printable
from ..model import Kind, Mount, is_on_block_device
from ..mounts.mountinfo import Unreadable, parse_line
from ..observe import processes
from ..observe.namespaces import read
from ..report import types
from ..scan.confirm import ConfirmedScan
from ..scan.result import Scan
from .service_report import ServiceReport

_BY_ANY_SCAN = (Kind.SEVERED, Kind.PRIVATE_ROOT, Kind.ABANDONED)
"""Kinds that depend on propagation, or on what an engine says, as it is now, and not on earlier scans."""


def alone(agent: ServiceReport, found: ConfirmedScan) -> list[types.FindingJson]:
    """The service's findings, as it wrote them, that are to be shown beside those of the scan."""
    own = {finding.id for finding in found.findings}
    now = _Now(found.seen, agent.findings)
    return [one for one in agent.findings if one["confirmed"] and one["id"] not in own and now.has(one)]


class _Now:
    """Answers whether a finding still holds; each namespace is read at most once."""

    def __init__(self, seen: Scan, findings: Iterable[types.FindingJson]) -> None:
        picture = seen.picture
        self._spaces, self._home = picture.namespaces, picture.home_identities
        self._judged = {printable(state.root.path) for state in picture.roots if state.status == "ok"}
        self._unread = {gap.namespace for gap in seen.gaps}
        self._ids: dict[int | None, set[bytes]] = {}
        """Small ids, as written, of the mounts that are looked for in each namespace."""
        for copy in (copy for finding in findings for copy in finding["copies"]):
            self._ids.setdefault(copy["namespace"]["inode"], set()).add(b"%d" % (copy["mount_id"]["small"] or 0))
        self._lines: dict[int, dict[bytes, bytes] | None] = {}

    def has(self, finding: types.FindingJson) -> bool:
        """Whether what the finding is about is there now, as far as that can be read."""
        if finding["kind"] == Kind.PINNED:
            return any(processes.is_alive(holder["pid"]) for holder in types.holders(finding))
        return any(self._has_copy(finding, copy) for copy in finding["copies"])

    def _has_copy(self, finding: types.FindingJson, copy: types.CopyJson) -> bool:
        inode = copy["namespace"]["inode"]
        if finding["kind"] in _BY_ANY_SCAN and finding["root"] in self._judged and inode not in self._unread:
            return False
        return inode is not None and self._is_populated(inode, finding["kind"]) and self._shows(inode, finding, copy)

    def _is_populated(self, inode: int, kind: str) -> bool:
        space = self._spaces.get(inode)
        return space is not None and (kind != Kind.ORPHANED or bool(space.pids))

    def _shows(self, inode: int, finding: types.FindingJson, copy: types.CopyJson) -> bool:
        if inode not in self._lines:
            self._lines[inode] = self._read(inode)
        lines, identity = self._lines[inode], copy["mount_id"]["small"]
        if lines is None or identity is None:
            return True
        line = lines.get(b"%d" % identity)
        try:
            return line is not None and self._is_that(parse_line(line), finding, copy)
        except Unreadable:
            return True

    def _read(self, inode: int) -> dict[bytes, bytes] | None:
        """The lines that are looked for, by id; none where the namespace is gone, and None where it can't be read."""
        space, asked = self._spaces[inode], self._ids.get(inode, set())
        try:
            return read(inode, space.pids, lambda lines: lines.find(asked), space.door) or {}
        except (OSError, NoAnswer):
            return None

    def _is_that(self, mount: Mount, finding: types.FindingJson, copy: types.CopyJson) -> bool:
        """Whether it is the same mount, and not in home again. Mount ids are reused at once: all else is compared."""
        known = (finding["device"], finding["fstype"], copy["seen_at"])
        if known != (mount.device, printable(mount.fstype), printable(mount.point)):
            return False
        if finding["kind"] not in (Kind.LEAKED, Kind.ORPHANED):
            return True
        return not self._is_in_home(mount, by_device=finding["kind"] == Kind.LEAKED and is_on_block_device(mount))

    def _is_in_home(self, mount: Mount, *, by_device: bool) -> bool:
        return mount.device in self._devices if by_device else mount.identity in self._home

    @cached_property
    def _devices(self) -> frozenset[str]:
        """The devices of which home has anything mounted."""
        return frozenset(device for device, _root in self._home)
