"""Every layout of every engine, each with a root of its own, and mounts planted on a spot of each."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from mountwarden import engines
from mountwarden.kernel import syscalls
from mountwarden.model import Layout, MountClass, Root, RootKind
from mountwarden.mounts.roots import ANYWHERE

BASE = b"/mnt/roots"
SOURCE = b"/mnt/source"

ANY = ("tmpfs", "ext4", "fuse.sshfs", "nsfs")
"""Types that are planted where the engine mounts any: in memory, on a block device, of a network, of a namespace."""

CUSTOM = (
    Layout(b"*", None),
    Layout(b"*", None, MountClass.VOLUME),
    Layout(b"a/*/b/*", "tmpfs"),
    Layout(b"a", None, MountClass.VOLUME),
)
"""As a `[[root]]` of the configuration may have them."""


@dataclass(frozen=True, slots=True)
class Case:
    """A layout, and a file system on a spot of it."""

    engine: str
    layout: Layout
    fstype: str
    root: Root

    @property
    def spot(self) -> bytes:
        """The mountpoint at home."""
        return self.root.path + b"/" + self.layout.pattern.replace(b"*", b"x1")

    def __str__(self) -> str:
        return f"{self.engine}-{self.layout.pattern.decode()}-{self.layout.mount_class}-{self.fstype}"


def cases() -> Iterator[Case]:
    """One for each layout and type; not of a root that is the whole host, whose spots are anywhere."""
    number = 0
    for engine, layouts in (*engines.LAYOUTS.items(), ("custom", CUSTOM)):
        for layout in dict.fromkeys(layouts):
            for fstype in (layout.fstype,) if layout.fstype else ANY:
                if layout.pattern != ANYWHERE and layout.is_file <= (fstype == "nsfs"):
                    number += 1
                    path = BASE + b"/%d" % number
                    is_file = fstype == "nsfs"
                    root = Root(path, engine, RootKind.CUSTOM, (replace(layout, is_file=is_file),), home=None)
                    yield Case(engine, layout, fstype, root)


def mount_source(fstype: str) -> None:
    """Mount a file system of this type on `SOURCE`, a file where it is nsfs."""
    if fstype == "nsfs":
        Path(os.fsdecode(SOURCE)).touch()
        syscalls.mount(b"/proc/self/ns/net", SOURCE, None, 0x1000)  # MS_BIND
        return
    os.mkdir(SOURCE)
    if fstype == "ext4":
        image = "/mnt/image"
        Path(image).touch()
        os.truncate(image, 4 << 20)
        subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", image], check=True)
        subprocess.run(["mount", "-o", "loop", image, os.fsdecode(SOURCE)], check=True)
        return
    options = {"tmpfs": b"size=64k", "overlay": b"lowerdir=/mnt/low:/mnt/lower"}
    for lower in ("/mnt/low", "/mnt/lower"):
        os.makedirs(lower, exist_ok=True)
    if fstype.startswith("fuse"):  # nobody answers, and nobody needs to
        device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options[fstype] = b"fd=%d,rootmode=40000,user_id=0,group_id=0" % device
    syscalls.mount(b"planted", SOURCE, fstype.encode(), 0, options[fstype])


def bind(spot: bytes) -> None:
    """Bind `SOURCE` on a spot."""
    os.makedirs(os.path.dirname(spot), exist_ok=True)
    if b"nsfs" in _type_of_source():
        Path(os.fsdecode(spot)).touch()
    else:
        os.makedirs(spot, exist_ok=True)
    syscalls.mount(SOURCE, spot, None, 0x1000)  # MS_BIND


def _type_of_source() -> bytes:
    lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    return next(line for line in lines if line.split(b" ")[4] == SOURCE).rpartition(b" - ")[2]
