"""PID 1's mount namespace for a command that was started in another one: setns(2), and Python's modules after it.

Nothing keeps the namespace that is left: by a descriptor of it this command would be a holder of its copies. Its root
directory stays open for imports alone (O_PATH), which find what is there while others are in that namespace.
"""

import os
import sys
from collections.abc import Callable, Iterable

from ..errors import NoAnswer
from ..kernel import abi, child, syscalls

_FIRST_PID_NAMESPACE = 0xEFFFFFFC
"""Inode of the pid namespace that the kernel begins with: PROC_PID_INIT_INO of linux/proc_ns.h."""
_DEADLINE = 1.0


def enter(prepare: Callable[[], object]) -> None:
    """Enter PID 1's mount namespace: its root becomes ours, and the working directory.

    `prepare` is called before, once it is known that the namespace can be opened. Raises: OSError.
    """
    fd = os.open("/proc/1/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    root = os.open("/", os.O_PATH | os.O_CLOEXEC)
    try:
        prepare()
        syscalls.setns(fd, abi.CLONE_NEWNS)
    except BaseException:
        os.close(root)
        raise
    finally:
        os.close(fd)
    _import_from(f"/proc/self/fd/{root}")


def _import_from(root: str) -> None:
    """Let modules come from where those that are loaded came from, and none from a directory of that name here."""
    sys.path[:] = _below(root, sys.path)
    for module in tuple(sys.modules.values()):
        if paths := getattr(module, "__path__", None):
            module.__path__ = _below(root, paths)
    sys.path_importer_cache.clear()


def _below(root: str, paths: Iterable[str]) -> list[str]:
    return [root + path for path in paths if path.startswith("/")]


def is_of_the_host() -> bool:
    """Whether PID 1 is the host's, or the systemd of a container that is a host of its own; no other container's."""
    if _pid_namespace() == _FIRST_PID_NAMESPACE:
        return True
    return pid1() == "systemd" and os.path.isdir("/run/systemd/system")


def _pid_namespace() -> int:
    for process in ("1", "self"):
        try:
            return os.stat(f"/proc/{process}/ns/pid").st_ino
        except OSError:
            continue
    return 0


def pid1() -> str:
    """The command name of PID 1; empty where it can't be read."""
    try:
        with open("/proc/1/comm", "rb") as file:
            return os.fsdecode(file.read().rstrip(b"\n"))
    except OSError:
        return ""


def file_of(path: str) -> tuple[int, int] | None:
    """st_dev and st_ino of what a path leads to now; None where that is nothing, or does not answer."""

    def asked() -> tuple[int, int]:
        found = os.stat(path)
        return found.st_dev, found.st_ino

    try:
        return child.ask(asked, deadline=_DEADLINE, what="the walk of the path")
    except (OSError, NoAnswer):
        return None
