"""What the kernel itself has open: the files of loop devices, and swap areas."""

import glob
import os
from collections.abc import Callable, Iterator
from typing import TypeVar

from ..kernel import abi, syscalls
from ..mounts.mountinfo import unescape
from . import processes

T = TypeVar("T")

LONGEST_NAME = abi.LO_NAME_SIZE - 1
"""Bytes of the path by which a loop device was set up that the kernel keeps."""


def loops() -> Iterator[tuple[str, bytes]]:
    """Each loop device that is set up: its name (such as loop0), and the path that its file had then."""
    for path in sorted(glob.glob("/sys/block/loop*/loop/backing_file")):
        yield path.split("/")[3], processes.read_or_empty(path).rstrip(b"\n").removesuffix(b" (deleted)")


def swaps() -> Iterator[tuple[bytes, bytes]]:
    """Path and type ("file" or "partition") of each swap area, from proc_swaps(5)."""
    for line in processes.read_or_empty("/proc/swaps").splitlines()[1:]:
        path, kind = [*line.split(), b"", b""][:2]
        yield unescape(path), kind


def backing_device(name: str) -> str | None:
    """major:minor of the file system of the file behind `name` (such as loop0); None where it can't be asked.

    It is asked of the device itself (LOOP_GET_STATUS64): the file may be on a mount that no namespace shows.
    """
    return _asked(name, syscalls.loop_backing_device)


def name_at_setup(name: str) -> bytes | None:
    """The path by which `name` was set up, as its first 63 bytes; None where it can't be asked.

    It stays where the file's mount is gone from its place, and the kernel's own path of it is that below the mount.
    """
    return _asked(name, syscalls.loop_name) or None


def _asked(name: str, question: Callable[[int], T]) -> T | None:
    try:
        fd = os.open(f"/dev/{name}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return question(fd)
    except OSError:
        return None
    finally:
        os.close(fd)
