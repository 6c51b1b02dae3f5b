"""One real fault of each kind on a booted host, each held by a unit or made at home, and what takes it away again."""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.support.leaks import CONFIG, ROOT, Leaks
from tests.support.machine import Machine
from tests.support.wait import wait_until

SETTINGS = (
    'mode = "observe"\n'
    + CONFIG
    + "\n[confirm]\n"
    + "".join(f'{name} = "1s"\n' for name in ("layer", "shm", "volume", "pinned", "orphaned"))
)
"""Nothing is done by itself, and nothing is waited for."""
DISK = "/mnt/e"

_numbers = itertools.count(1)
"""A unit that failed keeps its name."""

_DISK = f"""
set -e
truncate -s 16M /tmp/disk
mkfs.ext4 -q /tmp/disk
mkdir -p {DISK}
mount -o loop /tmp/disk {DISK}
"""
_PINNING = """
test -e "$1" || exec sleep infinity  # started again, its file has gone
exec tail -f "$1"
"""
_CONTAINER = """
set -e
mountpoint -q "$1" || exec sleep infinity  # started again, its layer has gone
cd "$1"
mkdir old
mount --make-rprivate /
pivot_root . old
mount -t proc proc /proc
umount -l /old
umount /proc
exec sleep infinity
"""
_CLEAN = f"""
umount {DISK}
rm -f /tmp/disk
for mount in {ROOT}/*/merged; do while umount -q $mount; do :; done; done
umount {ROOT}
"""


@dataclass
class Wrongs:
    """Makes them on a host whose service has seen what was there before: `seen` waits for its next scan."""

    host: Machine
    seen: Callable[[], None]
    leaks: Leaks = field(init=False)
    began: float = field(default_factory=time.time)
    """Seconds since the Epoch."""

    def __post_init__(self) -> None:
        self.leaks = Leaks(self.host)
        self.leaks.prepare()
        self.host.run("mount", "--make-shared", ROOT)

    def leaked(self) -> str:
        """A layer that a unit with MountFlags=private keeps."""
        merged, _unit = self.leaks.make("leaky")
        return merged

    def volume(self) -> str:
        """A disk, kept by such a unit."""
        self.host.run("sh", "-c", _DISK)
        self.leaks.units.add(self.host.unit("volume", "MountFlags=private"))
        self.seen()
        self.host.run("umount", DISK)
        return DISK

    def severed(self) -> str:
        """A layer that is live, and of which a unit has a copy that no umount reaches."""
        self.leaks.mount()
        self.leaks.units.add(self.host.unit("severed", "MountFlags=private", "PrivateTmp=yes"))
        return ROOT

    def private_root(self) -> str:
        """The root's mount, made private."""
        self.host.run("mount", "--make-private", ROOT)
        return ROOT

    def pinned(self) -> str:
        """A layer without a mount, of which a unit has a file open."""
        merged = f"{self.leaks.mount()}/merged"
        self.host.run("sh", "-c", f"echo > {merged}/file")
        command = ("sh", "-c", _PINNING, "sh", f"{merged}/file")
        unit = self.host.unit(f"pinned-{next(_numbers)}", "PrivateTmp=yes", command=command)
        self.leaks.units.add(unit)
        wait_until(lambda: "tail" in self.host.read(f"/proc/{self.host.main_pid(unit)}/comm"), 30, "it has it open")
        self.seen()
        self.host.run("umount", "-l", merged)
        return merged

    def orphaned(self) -> str:
        """A layer that is the root of a unit's processes, as of a container that its runtime has left."""
        layer = self.leaks.mount()
        merged = f"{layer}/merged"
        self.host.run(
            "sh",
            "-c",
            f"umount {merged} && mount -t overlay overlay "
            f"-o lowerdir=/,upperdir={layer}/upper,workdir={layer}/work {merged}",
        )
        unit = self.host.unit(
            f"orphaned-{next(_numbers)}", "PrivateTmp=yes", command=("sh", "-c", _CONTAINER, "sh", merged)
        )
        self.leaks.units.add(unit)
        wait_until(lambda: "sleep" in self.host.read(f"/proc/{self.host.main_pid(unit)}/comm"), 30, "it has its root")
        self.seen()
        self.host.run("umount", merged)
        return merged

    def stacked(self) -> str:
        """A layer that is bound on itself again and again."""
        merged = f"{self.leaks.mount()}/merged"
        for _ in range(2):
            self.host.run("sh", "-c", f"for i in 1 2 3; do mount --bind {merged} {merged}; done")
            self.seen()
        return merged

    def unstack(self, merged: str) -> None:
        """What the text advises by hand."""
        self.host.run("sh", "-c", f"while umount -q {merged}; do :; done", check=False)

    def clean(self) -> None:
        """Take all of it away."""
        self.leaks.clean()
        self.host.run("sh", "-c", _CLEAN, check=False)
