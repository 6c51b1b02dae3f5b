"""A mount namespace for throw-away mounts. It needs no root, and ends with its processes, as do all mounts in it."""

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

from ..errors import MountwardenError
from ..escape import sentence
from ..kernel import abi, syscalls

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that end a command."""

_NO_PROC = 125
"""Exit status that means: a new /proc is refused."""
_COVERABLE = ("/run", "/mnt", "/media", "/srv")
"""Directories that a tmpfs may cover, the first that will do."""


def stage(function: Callable[[], int]) -> int:
    """Run `function` in new mount and pid namespaces, and where that takes a user namespace, in a new one: its status.

    A tmpfs covers the directory of `covered` there, and all ends with the caller. Where a new /proc is refused, as
    inside some containers, there is no new pid namespace.

    Raises: MountwardenError where no user namespace can be made, with the sysctl that forbids it; OSError as fork(2).
    """
    status = _in_namespaces(function, pid_namespace=True)
    return _in_namespaces(function, pid_namespace=False) if status == _NO_PROC else status


def covered() -> bytes:
    """The directory that `stage` covers: one that Python imports nothing from.

    Raises: MountwardenError where there is none.
    """
    loaded = [os.path.realpath(path) for path in (*sys.path, sys.prefix, sys.executable, __file__) if path]
    for candidate in _COVERABLE:
        if os.path.isdir(candidate) and not any(f"{path}/".startswith(f"{candidate}/") for path in loaded):
            return os.fsencode(candidate)
    raise MountwardenError(f"none of {', '.join(_COVERABLE)} can be covered by a tmpfs")


def _in_namespaces(function: Callable[[], int], *, pid_namespace: bool) -> int:
    refused, report = os.pipe2(os.O_CLOEXEC)
    flush()
    parent = os.getpid()
    middle = os.fork()
    if middle == 0:
        exit_with(lambda: _middle(function, report, parent, pid_namespace=pid_namespace))
    os.close(report)
    with _ending_kills(middle), os.fdopen(refused, "rb") as pipe:
        why = pipe.read()
        status = os.waitstatus_to_exitcode(os.waitpid(middle, 0)[1])
    if why:
        raise refusal(int(why))
    return status if status >= 0 else 128 - status


@contextlib.contextmanager
def _ending_kills(pid: int) -> Iterator[None]:
    """A signal of `ENDING` kills the child first, and with it all its namespaces."""

    def end(number: int, _frame: FrameType | None) -> None:
        os.kill(pid, signal.SIGKILL)

    old = {number: signal.signal(number, end) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _middle(function: Callable[[], int], report: int, parent: int, *, pid_namespace: bool) -> int:
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)  # the parent decides, by SIGKILL
    syscalls.die_with_parent(signal.SIGKILL)
    if os.getppid() != parent:
        return 1
    try:
        _unshare(pid_namespace=pid_namespace)
    except OSError as error:
        os.write(report, b"%d" % (error.errno or errno.EPERM))
        return 2
    ours = os.getpid()
    inner = os.fork()
    if inner == 0:
        os.close(report)
        syscalls.die_with_parent(signal.SIGKILL)
        if os.getppid() not in (0, ours):
            return 1
        return _inner(function, pid_namespace=pid_namespace)
    os.close(report)
    status = os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1])
    return status if status >= 0 else 128 - status


def _unshare(*, pid_namespace: bool) -> None:
    spaces = abi.CLONE_NEWNS | (abi.CLONE_NEWPID if pid_namespace else 0)
    if os.geteuid() == 0:
        try:
            syscalls.unshare(spaces)
        except PermissionError:
            pass  # root without CAP_SYS_ADMIN, as in a container
        else:
            syscalls.mount(None, b"/", None, abi.MS_REC | abi.MS_PRIVATE)
            return
    user, group = os.geteuid(), os.getegid()
    syscalls.unshare(abi.CLONE_NEWUSER | spaces)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)
    # Where AppArmor restricts user namespaces, this is the first call that is refused.
    syscalls.mount(None, b"/", None, abi.MS_REC | abi.MS_PRIVATE)


def _inner(function: Callable[[], int], *, pid_namespace: bool) -> int:
    os.chdir("/")
    if pid_namespace:
        try:
            syscalls.mount(b"proc", b"/proc", b"proc", abi.MS_NOSUID | abi.MS_NODEV | abi.MS_NOEXEC)
        except PermissionError:
            return _NO_PROC
    syscalls.mount(b"tmpfs", covered(), b"tmpfs", abi.MS_NOSUID | abi.MS_NODEV, b"mode=755")
    return function()


def refusal(number: int, sysctls: str = "/proc/sys") -> MountwardenError:
    """Why no namespace can be made: the sysctl that forbids it, else the errno `number`."""
    for name, bad, good in (
        ("kernel.unprivileged_userns_clone", "0", "1"),
        ("user.max_user_namespaces", "0", "10000"),
        ("user.max_mnt_namespaces", "0", "10000"),
        ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    ):
        try:
            with open(os.path.join(sysctls, *name.split(".")), encoding="ascii") as file:
                value = file.read().strip()
        except OSError:
            continue
        if value == bad:
            hint = f"as root: sysctl {name}={good}, or run it as root"
            return MountwardenError(f"no user namespace can be made here: {name} is {bad}", hint=hint)
    text = f"no user namespace can be made here: {os.strerror(number)}"
    return MountwardenError(text, hint="a container or a seccomp filter may forbid it: run it as root on the host")


def exit_with(function: Callable[[], int]) -> NoReturn:
    """In a forked child: run `function`, print an error on one line, and exit with a status."""
    status = 1
    try:
        status = function()
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:
        status = 141
    except MountwardenError as error:
        lines = [f"mountwarden: {error.message}", *([f"hint: {error.hint}"] if error.hint else [])]
        print(*map(sentence, lines), sep="\n", file=sys.stderr)
        status = error.status
    except OSError as error:
        print(sentence(f"mountwarden: {error}"), file=sys.stderr)
        status = 2
    except Exception:  # a bug of ours: its traceback must not be lost with the child
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(OSError):
            flush()
        os._exit(status)


def flush() -> None:
    """Flush what a forked child would inherit and print again."""
    sys.stdout.flush()
    sys.stderr.flush()


def restore_signals() -> None:
    """In a forked child: the signals of `ENDING` end it again."""
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)
