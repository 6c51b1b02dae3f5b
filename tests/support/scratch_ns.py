"""Mount namespaces for kernel tests: a home to mount in, others that copy it and sleep, all gone at exit.

A `Namespace` is kept by a forked child that sleeps and that the kernel kills when this process ends. Code runs in it in
further forked children, which enter it (setns), so that tests may hand over closures and get values back.
"""

import contextlib
import os
import pickle
import select
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, TypeVar

from mountwarden.kernel import abi, syscalls

_T = TypeVar("_T")

SCRATCH = b"/mnt"
"""Where `Sandbox` has its tmpfs: a directory that every machine has, covered in the sandbox's namespace only."""

Propagation = Literal["private", "slave", "shared"]

_FLAGS = {"private": abi.MS_PRIVATE, "slave": abi.MS_SLAVE, "shared": abi.MS_SHARED}


class Namespace:
    """A mount namespace (and perhaps a user namespace) that lives as long as its sleeping process `pid`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    @property
    def inode(self) -> int:
        """The mount namespace's inode number, as /proc/PID/ns/mnt names it."""
        return os.stat(f"/proc/{self.pid}/ns/mnt").st_ino

    def run(self, function: Callable[..., _T], *args: Any, timeout: float = 20) -> _T:
        """Call the function in a child process in this namespace, with "/" as root and working directory.

        Returns what it returned, or raises what it raised with the child's traceback as a note; both are pickled. A
        child that is not ready in `timeout` seconds is killed: TimeoutError.
        """
        return in_child(lambda: _enter_and_call(self.pid, function, args), timeout)

    def mountinfo(self) -> bytes:
        """The text of /proc/PID/mountinfo, as the sleeping process sees it."""
        with open(f"/proc/{self.pid}/mountinfo", "rb") as file:
            return file.read()

    def is_mounted(self, mountpoint: bytes) -> bool:
        """Whether the namespace shows a mount on that path (which must need no escapes)."""
        return any(line.split(b" ")[4] == mountpoint for line in self.mountinfo().splitlines())

    def kill(self) -> None:
        """End the namespace's process now; `hold` and `Sandbox` do it at their exit."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0


class Sandbox(Namespace):
    """A private mount namespace with an empty tmpfs on `SCRATCH`, as a context manager: the home of a topology.

    The tmpfs is a mount of its own, private at first. With `userns`, the namespace belongs to a user namespace too.
    """

    scratch = SCRATCH

    def __init__(self, *, userns: bool = False) -> None:
        super().__init__(0)
        self._userns = userns

    def __enter__(self) -> "Sandbox":
        self.pid = _start(None, "private", self._userns, None, None)
        self.run(syscalls.mount, b"tmpfs", SCRATCH, b"tmpfs", 0, b"mode=755")
        return self

    def __exit__(self, *_error: object) -> None:
        self.kill()

    def overlay(self, base: bytes, *, upper: bytes = b"upper") -> "Overlay":
        """Make and mount an overlay below `base` in this namespace."""
        return self.run(lambda: overlay(base, upper=upper))


@contextlib.contextmanager
def hold(
    within: Namespace | None = None,
    *,
    propagation: Propagation | None = "private",
    userns: bool = False,
    cwd: bytes | None = None,
    chroot: bytes | None = None,
) -> Iterator[Namespace]:
    """A new mount namespace that is a copy of `within` (default: of this process's), and a process that sleeps in it.

    `propagation` is set on the copy's whole tree, as unshare(1) does it; None leaves what the kernel gave. With
    `userns` the copy is made in a user namespace of its own: its mounts are slaves at most, and locked. `cwd` and
    `chroot` are the sleeping process's.
    """
    namespace = Namespace(_start(within, propagation, userns, cwd, chroot))
    try:
        yield namespace
    finally:
        namespace.kill()


@dataclass(frozen=True, slots=True)
class Overlay:
    """The directories of one overlay mount, as an engine's layer has them."""

    lower: bytes
    upper: bytes
    work: bytes
    merged: bytes


def overlay(base: bytes, *, upper: bytes = b"upper", mounted: bool = True) -> Overlay:
    """Make base/{lower,upper,work,merged} in the caller's namespace and mount the overlay; `upper` renames that one."""
    layer = Overlay(*(base + b"/" + name for name in (b"lower", upper, b"work", b"merged")))
    for directory in (layer.lower, layer.upper, layer.work, layer.merged):
        os.makedirs(directory, exist_ok=True)
    if mounted:
        options = b"lowerdir=%b,upperdir=%b,workdir=%b" % (layer.lower, layer.upper, layer.work)
        syscalls.mount(b"overlay", layer.merged, b"overlay", 0, options)
    return layer


def in_child(function: Callable[[], _T], timeout: float = 20) -> _T:
    """Call the function in a forked child of this process; see `Namespace.run`."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _report(function, writer)
    os.close(writer)
    try:
        data = _read_all(reader, time.monotonic() + timeout)
    finally:
        os.close(reader)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    raised, value = pickle.loads(data)
    if raised:
        raise value
    return value  # type: ignore[no-any-return]


def _read_all(reader: int, deadline: float) -> bytes:
    """Read, then reap: a child with more to say than a pipe holds could not end before."""
    parts: list[bytes] = []
    while select.select([reader], [], [], max(0.0, deadline - time.monotonic()))[0]:
        part = os.read(reader, 1 << 20)
        if not part:
            if not parts:
                raise ChildProcessError("the child died without an answer")
            return b"".join(parts)
        parts.append(part)
    raise TimeoutError("the child gave no answer in time")


def _report(function: Callable[[], Any], writer: int) -> NoReturn:
    try:
        syscalls.die_with_parent(signal.SIGKILL)
        try:
            answer = pickle.dumps((False, function()))
        except BaseException as error:
            answer = _pickle_error(error)
        with open(writer, "wb") as pipe:
            pipe.write(answer)
    finally:
        os._exit(0)


def _pickle_error(error: BaseException) -> bytes:
    error.add_note("in the child:\n" + "".join(traceback.format_exception(error)))
    try:
        data = pickle.dumps((True, error))
        pickle.loads(data)
    except Exception:
        data = pickle.dumps((True, RuntimeError(f"{type(error).__name__}: {error}\n{error.__notes__[-1]}")))
    return data


def _enter_and_call(pid: int, function: Callable[..., _T], args: tuple[Any, ...]) -> _T:
    _enter(pid)
    syscalls.die_with_parent(signal.SIGKILL)  # new credentials cleared it
    return function(*args)


def _enter(pid: int) -> None:
    kinds = (("user", abi.CLONE_NEWUSER), ("mnt", abi.CLONE_NEWNS))
    fds = [
        (os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC), kind)
        for name, kind in kinds
        if os.readlink(f"/proc/{pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}")
    ]
    for fd, kind in fds:
        syscalls.setns(fd, kind)
        os.close(fd)


def _start(
    within: Namespace | None, propagation: Propagation | None, userns: bool, cwd: bytes | None, chroot: bytes | None
) -> int:
    """Fork the sleeping process; returns when its namespace is ready."""
    told, tell = os.pipe2(os.O_CLOEXEC)
    go, let_go = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(told)
        os.close(let_go)
        _sleep(within, propagation, userns, cwd, chroot, tell, go)
    os.close(tell)
    os.close(go)
    with open(told, "rb") as answers, open(let_go, "wb", buffering=0) as permission:
        try:
            if answers.read(1) == b"u":
                _map_users(pid)
                permission.write(b"g")
            if problem := answers.read():
                raise pickle.loads(problem)
        except BaseException:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
    return pid


def _map_users(pid: int) -> None:
    """The same ids inside as outside: what matters to mounts is only whose namespace it is."""
    root = os.geteuid() == 0
    wanted = {
        "setgroups": "allow" if root else "deny",
        "uid_map": "0 0 65536" if root else f"0 {os.geteuid()} 1",
        "gid_map": "0 0 65536" if root else f"0 {os.getegid()} 1",
    }
    for name, text in wanted.items():
        with open(f"/proc/{pid}/{name}", "w") as file:
            file.write(text)


def _sleep(
    within: Namespace | None,
    propagation: Propagation | None,
    userns: bool,
    cwd: bytes | None,
    chroot: bytes | None,
    tell: int,
    go: int,
) -> NoReturn:
    told = False
    try:
        if within:
            _enter(within.pid)
        syscalls.unshare(abi.CLONE_NEWNS | (abi.CLONE_NEWUSER if userns else 0))
        told = bool(os.write(tell, b"u" if userns else b"-"))
        if userns and not os.read(go, 1):
            os._exit(1)
        if propagation:
            syscalls.mount(None, b"/", None, abi.MS_REC | _FLAGS[propagation])
        null = os.open(os.devnull, os.O_RDWR)
        if chroot:
            os.chroot(chroot)
        os.chdir(cwd or b"/")
        syscalls.die_with_parent(signal.SIGKILL)
        _let_go_of_everything(null)
    except BaseException as error:
        os.write(tell, (b"" if told else b"-") + pickle.dumps(error))
        os._exit(1)
    while True:
        signal.pause()


def _let_go_of_everything(null: int) -> None:
    """The pipes too: their end tells the parent that the namespace is ready."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
