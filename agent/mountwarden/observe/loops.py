"""What a loop device is set up on, by the device itself: its file may be on a mount that no namespace shows."""

import os

from ..kernel import calls


def backing_device(name: str) -> str | None:
    """major:minor of the file system of the file behind `name` (such as loop0); None where it can't be asked."""
    try:
        fd = os.open(f"/dev/{name}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return calls.loop_backing_device(fd)
    except OSError:
        return None
    finally:
        os.close(fd)
