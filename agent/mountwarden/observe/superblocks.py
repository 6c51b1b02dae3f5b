"""Whether a superblock lives on that home has no mount of any more: what tells an umount that leaked from any other.

ustat(2), by the device of the superblock: EINVAL where no mount of any namespace and no open file has it. It takes
`s_umount` shared and calls the file system's own statfs, so it can hang, for ever and unkillably: behind an umount that
writes back to a dead device, in a network file system, or in FUSE, once the daemon has the request. Numbers of devices
are given anew at once, so that the one asked for may be anybody's by now. So the call is made by a child
(`superblock_child`) with a deadline. What remains of a hostile file system: as long as its daemon does not answer, one
child of ours is left behind, an umount of that file system itself waits, and so does a stop of the service, for its
TimeoutStopSec=. At most four are left behind, whoever's they are; then nothing is asked until one of them has ended. (A
FUSE file system of a user namespace is not ours to enter: the kernel answers for it.)

Where there is no such call (arm64), or a filter forbids it: an inotify(7) watch on each superblock, set while home has
it, which gives IN_UNMOUNT when the superblock ends, not when a mount does. Only the mountpoint's lookup can hang there,
on a FUSE or network file system; that is the child's too. It starts no automount: what the path leads through is
mounted, and the last component is not entered. For the moment of the lookup, as with any stat(2), a plain umount of
that mount is EBUSY. A watch is of an inode, and keeps neither mount nor superblock; of which device it is, is checked.
"""

import contextlib
import errno
import os
from collections.abc import Collection, Mapping

from ..errors import NoAnswer
from ..kernel import syscalls
from ..kernel.probe import explained
from ..model import SuperblockTest
from . import superblock_child
from .superblock_server import ASK, ENDED, LIVES, MOST
from .superblock_watches import SuperblockWatches

_NONE = b"0:0"
"""A device that no superblock has."""
_REFUSED = (-errno.ENOSYS, -errno.EPERM)
"""It was not asked. What else its statfs fails with is an error of a superblock that lives."""


class Superblocks:
    """Answers whether superblocks live, by their device numbers (major:minor, as mountinfo has them)."""

    def __init__(self) -> None:
        self._tried: tuple[SuperblockTest, str] | None = None
        self._watches = SuperblockWatches()

    @property
    def way(self) -> SuperblockTest:
        """What is asked. It is tried once, by the first who wants to know; NONE may be for a while only."""
        return self._now()[0]

    @property
    def why(self) -> str:
        """Why that is asked, and nothing better, for users; and what it lacks."""
        return self._now()[1]

    def follow(self, mounts: Mapping[str, bytes]) -> None:
        """Call it after each change of home.

        `mounts` has a mountpoint in this process's mount namespace for each superblock that home has now. The inotify
        way keeps a watch for each, until the superblock ends: that of a number that has another superblock by now is
        replaced, for which the caller need not know it. It costs some microseconds where nothing changed, and about
        5 µs for each watch where something is new. The ustat way needs nothing of it. Raises: nothing.
        """
        if self.way is SuperblockTest.INOTIFY:
            with contextlib.suppress(OSError):
                self._watches.follow(mounts)

    def ask(self, devices: Collection[str]) -> dict[str, bool]:
        """True: a superblock of that number lives. False: it has ended. A device without an entry: not known.

        Whose it is, the caller must know: by ustat a number that was given to another superblock meanwhile lives; by
        inotify it has ended, or, once `follow` had it again, is that other one's. Of FUSE it is the daemon that
        answers, and may say anything. By ustat each device costs 20 µs, and 0.1 µs for each superblock of the host. A
        file system that hangs costs 50 ms: what is behind it in the order of `devices` is then not known, and it is not
        asked again as long as its child hangs; where the child could be killed, for 5 s. Raises: nothing.
        """
        way = self.way
        if way is SuperblockTest.INOTIFY:
            return self._watches.lives(devices)
        return by_ustat(devices) if way is SuperblockTest.USTAT else {}

    def close(self) -> None:
        """Give back what is open, and end the child. It can be used on, without the watches that there were."""
        self._watches.close()
        superblock_child.close()

    def _now(self) -> tuple[SuperblockTest, str]:
        stuck = superblock_child.stuck()
        if stuck and self._tried and self._tried[0] is SuperblockTest.USTAT:
            return SuperblockTest.NONE, stuck
        try:
            self._tried = self._tried or _trial()
        except NoAnswer as error:
            return SuperblockTest.NONE, error.message
        way, why = self._tried
        if way is not SuperblockTest.INOTIFY:
            return way, why
        if failure := self._watches.failure():
            return SuperblockTest.NONE, f"{why}; {failure}"
        return way, "; ".join(filter(None, (why, self._watches.lacks, stuck)))


def by_ustat(devices: Collection[str]) -> dict[str, bool]:
    """`Superblocks.ask` by ustat(2), where that works; else nothing is known."""
    asked = [device.encode() for device in devices]
    known: dict[str, bool] = {}
    for start in range(0, len(asked), MOST):
        before = superblock_child.hanging()
        try:
            found = superblock_child.answers(ASK, asked[start : start + MOST])
        except NoAnswer:
            break
        known |= {device.decode(): one != ENDED for device, one in found.items() if one not in _REFUSED}
        if superblock_child.hanging() - before:
            break
    return known


def cpu_seconds() -> float:
    """Processor seconds of the child, and of those that were left behind, as far as RUSAGE_CHILDREN lacks them."""
    return superblock_child.cpu_seconds()


def close() -> None:
    """End the child of this process. A later question gets a new one."""
    superblock_child.close()


def _trial() -> tuple[SuperblockTest, str]:
    """Whether ustat(2) works here. Raises: NoAnswer where no child can be started."""
    if syscalls.USTAT is None:
        return SuperblockTest.INOTIFY, "this architecture has no ustat(2)"
    answer = superblock_child.answers(ASK, [_NONE]).get(_NONE)
    if answer in (LIVES, ENDED):
        return SuperblockTest.USTAT, "ustat(2) works"
    if answer is None:
        return SuperblockTest.INOTIFY, "ustat(2): the child that called it was killed"
    return SuperblockTest.INOTIFY, f"ustat(2): {', '.join(explained(OSError(-answer, os.strerror(-answer))))}"
