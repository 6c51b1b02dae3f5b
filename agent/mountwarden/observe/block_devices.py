"""What the kernel itself has open: the files of loop devices, and swap areas."""

import glob
import os
from collections.abc import Iterator

from ..kernel import syscalls
from ..mounts.mountinfo import unescape
from . import processes


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
    try:
        fd = os.open(f"/dev/{name}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return syscalls.loop_backing_device(fd)
    except OSError:
        return None
    finally:
        os.close(fd)
