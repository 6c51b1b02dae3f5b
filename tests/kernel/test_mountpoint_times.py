"""The times of a directory that a mount hides."""

import os

from mountwarden.kernel import abi, syscalls
from mountwarden.observe.mountpoint_times import last_changes

from tests.support.scratch_ns import SCRATCH, Sandbox
from tests.support.wait import wait_until

POINT = SCRATCH + b"/place/point"


def mounted() -> float:
    """A mount on `POINT`, whose own root was changed later than the directory below was made; when that was."""
    os.makedirs(POINT)
    made = os.stat(POINT).st_ctime
    syscalls.mount(b"tmpfs", POINT, b"tmpfs")
    wait_until(lambda: os.utime(POINT) or os.stat(POINT).st_ctime > made, 10)
    return made


def table() -> bytes:
    with open("/proc/self/mountinfo", "rb") as file:
        return file.read()


def test_the_directory_below_is_asked_and_not_the_mount() -> None:
    with Sandbox() as sandbox:
        made = sandbox.run(mounted)
        (found, none) = sandbox.run(lambda: last_changes([POINT, SCRATCH + b"/place/none"]))
        assert none is None
        assert found is not None
        assert abs(found - made) < 1e-5


def test_nothing_is_attached_and_nothing_pinned() -> None:
    with Sandbox() as sandbox:
        sandbox.run(mounted)

        def looked_at_and_ended() -> tuple[bool, bool]:
            before = table()
            last_changes([POINT])
            same = table() == before
            syscalls.umount(POINT)
            os.rmdir(POINT)
            return same, os.path.exists(POINT)

        assert sandbox.run(looked_at_and_ended) == (True, False)


def test_while_it_looks_the_mount_and_its_directory_can_go() -> None:
    """The copy is held open here as long as it takes to unmount and remove what it shows."""
    with Sandbox() as sandbox:
        sandbox.run(mounted)

        def ended_meanwhile() -> list[bytes]:
            fd = syscalls.open_tree(abi.AT_FDCWD, os.path.dirname(POINT), abi.OPEN_TREE_CLONE)
            try:
                syscalls.umount(POINT)
                os.rmdir(POINT)
            finally:
                os.close(fd)
            return os.listdir(os.path.dirname(POINT))

        assert sandbox.run(ended_meanwhile) == []


def test_an_unbindable_mount_gives_no_time() -> None:
    with Sandbox() as sandbox:
        sandbox.run(mounted)

        def unbindable() -> list[float | None]:
            syscalls.mount(None, SCRATCH, None, abi.MS_UNBINDABLE)
            return last_changes([POINT])

        assert sandbox.run(unbindable) == [None]
