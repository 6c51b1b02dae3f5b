"""Loop devices have no namespace: one that a test host leaves attached would keep its memory for ever."""

import fcntl
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

# linux/loop.h
LOOP_CLR_FD = 0x4C01
LOOP_GET_STATUS64 = 0x4C05
LOOP_INFO64 = struct.Struct("=QQQQQIIII64s64s32sQQ")


def attached(pid: int) -> tuple[str, ...]:
    """The loop devices whose backing file is in the mount namespace of `pid`."""
    devices = set(_devices(pid))
    return tuple(name for name, device, inode in _loops() if device in devices or _is_there(pid, name, device, inode))


def detach(names: Sequence[str]) -> None:
    """Detach them, if they are not gone."""
    for name in names:
        with open(f"/dev/{name}", "rb") as device:
            try:
                fcntl.ioctl(device, LOOP_CLR_FD, 0)
            except OSError:
                continue


def _is_there(pid: int, name: str, device: int, inode: int) -> bool:
    """By path: an overlay's files have other device numbers than mountinfo shows."""
    try:
        backing = Path("/sys/block", name, "loop/backing_file").read_text().rstrip("\n")
        found = os.stat(f"/proc/{pid}/root{backing}")
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == (device, inode)


def _devices(pid: int) -> Iterator[int]:
    try:
        lines = Path(f"/proc/{pid}/mountinfo").read_text(errors="replace").splitlines()
    except OSError:
        return  # it ended
    for line in lines:
        major, minor = line.split(" ", 3)[2].split(":")
        yield os.makedev(int(major), int(minor))


def _loops() -> Iterator[tuple[str, int, int]]:
    """Name, and device and inode of the backing file, of each attached one."""
    for place in Path("/sys/block").glob("loop*/loop"):
        name = place.parent.name
        data = bytearray(LOOP_INFO64.size)
        try:
            with open(f"/dev/{name}", "rb") as device:
                fcntl.ioctl(device, LOOP_GET_STATUS64, data)
        except OSError:
            continue
        device_number, inode, *_rest = LOOP_INFO64.unpack(data)
        yield name, _old_encoding(device_number), inode


def _old_encoding(device: int) -> int:
    """huge_encode_dev of linux/kdev_t.h to the C library's form."""
    return os.makedev((device >> 8) & 0xFFF, (device & 0xFF) | ((device >> 12) & 0xFFF00))
