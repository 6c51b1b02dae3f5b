"""A whole Debian, booted as its users have it: its own kernel, systemd and Docker, with the product's .deb installed.

The tree of a release is made once and kept in the cache. At each run the packages are installed in a copy of it, on a
disk of the run's own; that is booted twice (`tests.support.vm.in_debian`), and gone afterwards.
"""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import mirror, rootfs, tree
from tests.support.vm import boot, in_debian, userland
from tests.support.vm.apt import Unavailable, cache
from tests.support.vm.in_debian import DOCKER, PYTHON

RELEASES: dict[str, tuple[str, ...]] = {"bookworm": (), "trixie": ("docker-cli",)}
"""What each has beside `_PACKAGES`."""
RECIPE = "1"
DEADLINE = 1200
"""Seconds for one boot, on a machine with other work too; a tenth of that does where there is none."""
_ENOUGH, _GRACE = 600, 300
"""Seconds that must be left before MOUNTWARDEN_DEADLINE for it to begin, and that both boots may go on after it."""
MEMORY, SIZE = 2048, "4G"
_EMULATION = "-accel tcg,thread=single -icount shift=0"
"""One processor on which each instruction takes a nanosecond of the guest's time, however busy this machine is; where
it is idle, its time is ours. So what is measured in the guest is as on a slow host with such a processor.
"""
_PACKAGES = (
    "linux-image-cloud-amd64", "initramfs-tools", "zstd", "systemd", "systemd-sysv", "udev", "dbus", "apparmor",
    "docker.io", "busybox-static", "python3", "python3-pystemd", "python3-sdnotify", "python3-rich",
)  # fmt: skip
_UNITS = {
    "asked.service": f"After={DOCKER}\n[Service]\nExecStart=/usr/bin/python3 /root/in_debian.py\n"
    "StandardError=journal+console",
    PYTHON: "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'for time in 1 2 3 4 5; do /usr/bin/python3 -c pass; done'",
}
"""What asks; and a measure of how fast such a boot is, started when the service is."""

# $1 the tree, $2 what is added to it, $3 the disk's size, $4 the units to enable; the run's directory is the working
# one. The tree is changed in memory: an overlay's upper layer can't be on every file system that /tmp may be.
_MAKE = """
set -e
mkdir over
mount -t tmpfs -o mode=755 none over
mkdir over/upper over/work over/root
mount -t overlay -o "lowerdir=$1,upperdir=over/upper,workdir=over/work" none over/root
cp -R "$2/." over/root
mount -t proc proc over/root/proc
mount --bind /dev over/root/dev
chroot over/root sh -ec 'dpkg -i /root/mountwarden.deb; systemctl enable "$@"' sh $4 </dev/null
umount over/root/proc over/root/dev
cp over/root/boot/vmlinuz-* image
cp over/root/boot/initrd.img-* initramfs
truncate -s "$3" disk
mke2fs -q -t ext4 -E lazy_itable_init=0 -d over/root disk
"""


@dataclass(frozen=True, slots=True)
class Boot:
    """What a boot answered, and how long it took from the start of the virtual machine to its end."""

    told: dict[str, Any]
    console: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Debian:
    """A release's two boots: with the package, and after an upgrade. `bytes` is what the disk takes at the end."""

    release: str
    first: Boot
    second: Boot
    bytes: int


def prepare(release: str) -> Path:
    """The release's tree, made first if it is not there. Raises: Unavailable, also where the time would not do."""
    if _end() - time.time() < _ENOUGH:
        raise Unavailable("the time budget is used up")
    if reason := boot.obstacle():
        raise Unavailable(reason)
    userland.build(userland.QEMU)
    return _base(release)


def asked(release: str, package: Path, newer: Path) -> Debian:
    """Boot it twice. Raises: Unavailable where it can't be had; AssertionError where it gave no answer."""
    base = prepare(release)
    with tempfile.TemporaryDirectory(prefix="mountwarden-debian-") as directory:
        place = Path(directory)
        _make_disk(place, base, package, newer)
        first, second = (_boot(place, min(DEADLINE, _end() + _GRACE - time.time())) for _time in range(2))
        return Debian(release, first, second, (place / "disk").stat().st_blocks * 512)


def _end() -> float:
    """When no further test is to be started, in seconds since the epoch."""
    return float(os.environ.get("MOUNTWARDEN_DEADLINE") or "inf")


def _base(release: str) -> Path:
    packages = (*_PACKAGES, *RELEASES[release])
    text = "\n".join((RECIPE, rootfs.RECIPE, release, *packages))
    place = cache() / f"debian-{release}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    if place.is_dir():
        return place
    cache().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".debian-{release}-", dir=cache()) as aside:
        root = Path(aside, "root")
        command = [*tree.APART, "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase"]
        command += ['--aptopt=Acquire::Languages "none"', "--include=" + ",".join(packages)]
        command += [release, str(root), *mirror.lines(release)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise Unavailable(f"mmdebstrap could not make {release} ({done.returncode})")
        rootfs.write_archive(root)
        root.rename(place)
    return place


def _make_disk(place: Path, base: Path, package: Path, newer: Path) -> None:
    """The disk, the kernel and its initramfs, in an empty directory."""
    added = place / "added"
    files = {"mountwarden.deb": package, "newer.deb": newer, "in_debian.py": Path(in_debian.__file__)}
    (added / "root").mkdir(parents=True)
    for name, file in files.items():
        shutil.copy(file, added / "root" / name)
    units = added / "etc/systemd/system"
    units.mkdir(parents=True)
    for name, text in _UNITS.items():
        (units / name).write_text(f"[Unit]\n{text}\n[Install]\nWantedBy=multi-user.target\n")
    command = [*tree.APART, "sh", "-c", _MAKE, "sh", str(base), str(added), SIZE, " ".join(_UNITS)]
    done = subprocess.run(command, cwd=place, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def _boot(place: Path, timeout: float) -> Boot:
    started = time.monotonic()
    qemu = boot.qemu(boot.APPEND + "root=/dev/vda rw tsc=reliable", memory=MEMORY, emulation=_EMULATION)
    qemu += ["-drive", "file=/mnt/disk,if=virtio,format=raw,cache=unsafe"]
    output, said = boot.carried_out(boot.contained(place, place, qemu), timeout)
    seconds, console = time.monotonic() - started, said.decode(errors="replace")
    line = output.decode(errors="replace").strip()
    assert line.endswith("}"), f"no answer after {seconds:.0f} s\n{line}\n{console}"
    return Boot(json.loads(line), console, seconds)
