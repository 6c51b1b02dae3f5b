"""Throw-away topologies: a root, a layer, and a process that holds a copy. For the demo and for tests.

They are made in namespaces of their own (stage.py), or on this host below one new directory (`on_host`), which is
cleaned up even when the process that uses it is killed.
"""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

from ..errors import MountwardenError
from ..graphdriver.overlay import OverlayDriver
from ..kernel import abi, syscalls
from .stage import ENDING, exit_with, flush, restore_signals

NAME = "mountwarden-demo"
LIFETIME = 120
"""Seconds after which systemd stops a transient unit of ours, even if we were killed."""


@dataclass(frozen=True, slots=True)
class ScratchLayer:
    """An overlay with all its directories below one."""

    directory: bytes

    @property
    def mountpoint(self) -> bytes:
        """Where it is mounted."""
        return self.directory + b"/merged"


@dataclass(frozen=True, slots=True)
class ScratchHolder:
    """A process with a mount namespace that has a copy of every mount."""

    pid: int
    unit: str | None = None
    """The transient unit that it is, if any."""


# Layers


def require_overlay(directory: bytes) -> None:
    """Raises: MountwardenError where we may not mount an overlay, as in a user namespace before Linux 5.11.

    An overlay of two directories that every host has is mounted on `directory` and unmounted again.
    """
    try:
        syscalls.mount(b"overlay", directory, b"overlay", abi.MS_RDONLY, b"lowerdir=/usr:/etc")
        syscalls.umount(directory)
    except PermissionError as error:
        text = "this kernel lets only root of the host mount an overlay"
        raise MountwardenError(text, hint="run it as root") from error
    except OSError:
        return


def root(directory: bytes) -> None:
    """Mount a tmpfs on `directory` and make it shared, as a root should be. Raises: OSError as mount(2) does."""
    syscalls.mount(b"mountwarden-demo", directory, b"tmpfs", abi.MS_NOSUID | abi.MS_NODEV, b"mode=755,size=16m")
    syscalls.mount(None, directory, None, abi.MS_SHARED)


def mount_layer(home: bytes) -> ScratchLayer:
    """Have the graphdriver make a layer below `home`, on a base with one file, and mount it.

    Raises: OSError, and MountwardenError as the graphdriver does.
    """
    driver = OverlayDriver.init(home, load_module=os.geteuid() == 0)
    driver.create("base")
    with open(home + b"/base/root/file", "w", encoding="ascii") as file:
        file.write("a file of the layer\n")
    driver.create("layer", "base")
    return ScratchLayer(os.path.dirname(os.fsencode(driver.get("layer"))))


def unmount_layer(layer: ScratchLayer) -> None:
    """Unmount it and leave its mountpoint, as an engine without rmdir-on-put does. Raises: OSError as umount(2)."""
    syscalls.umount(layer.mountpoint)


# Holders


@contextlib.contextmanager
def holder_process(name: str = "leaky") -> Iterator[ScratchHolder]:
    """A process in a mount namespace of its own that umounts do not reach. It ends with the caller.

    Raises: MountwardenError where it died.
    """
    ready, report = os.pipe2(os.O_CLOEXEC)
    flush()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _hold(name, report, parent)
    os.close(report)
    try:
        with os.fdopen(ready, "rb") as pipe:
            if not pipe.read():
                raise MountwardenError("the process that should hold the copy died")
        yield ScratchHolder(pid)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _hold(name: str, report: int, parent: int) -> NoReturn:
    try:
        restore_signals()
        syscalls.die_with_parent(signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        syscalls.unshare(abi.CLONE_NEWNS)
        syscalls.mount(None, b"/", None, abi.MS_REC | abi.MS_PRIVATE)
        with open("/proc/self/comm", "w", encoding="ascii") as file:
            file.write(name)
        os.write(report, b"1")
        os.close(report)
        while True:
            signal.pause()
    finally:
        os._exit(1)


@contextlib.contextmanager
def holder_unit(name: str) -> Iterator[ScratchHolder]:
    """A transient service with PrivateTmp=yes and MountFlags=private, which systemd stops after LIFETIME.

    Raises: MountwardenError where systemd-run or systemctl fails.
    """
    unit = f"{name}.service"
    properties = ("PrivateTmp=yes", "MountFlags=private", f"RuntimeMaxSec={LIFETIME}", "Type=exec")
    options = [word for one in properties for word in ("-p", one)]
    try:
        _systemd("systemd-run", "--quiet", "--collect", f"--unit={unit}", *options, "sleep", str(LIFETIME))
        pid = _systemd("systemctl", "show", "--value", "--property=MainPID", unit)
        yield ScratchHolder(int(pid), unit)
    finally:
        stop_unit(unit)


def stop_unit(unit: str) -> None:
    """Stop the unit. An error is ignored: it may be gone already."""
    with contextlib.suppress(MountwardenError):
        _systemd("systemctl", "stop", unit)


def _systemd(*words: str) -> str:
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False, stdin=subprocess.DEVNULL)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise MountwardenError(f"{words[0]} failed: {error}") from error
    if done.returncode:
        raise MountwardenError(f"{words[0]} failed: {done.stderr.strip() or done.returncode}")
    return done.stdout.strip()


# On this host


def systemd_runs() -> bool:
    """Whether we are root in the mount namespace of a running systemd, so that it can run a unit for us."""
    from ..observe import namespaces
    from ..observe.enter import own_namespace

    here = os.geteuid() == 0 and os.path.isdir("/run/systemd/system") and shutil.which("systemd-run") is not None
    return here and namespaces.of_pid1() == own_namespace()


def on_host(function: Callable[[bytes], int]) -> int:
    """Run `function(directory)` in a forked child, with a new directory below /run; its status.

    Afterwards its mounts, the unit named like the directory, and the directory are removed, even if the child is
    killed; when we are killed, it gets SIGTERM and removes them. Raises: OSError as mkdir(2) and fork(2) do.
    """
    directory = f"/run/{NAME}-{secrets.token_hex(3)}".encode()
    os.mkdir(directory, 0o700)
    flush()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        exit_with(lambda: _guarded(function, directory, parent))
    try:
        with _ending_forwarded(child):
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        clean(directory)
    return status if status >= 0 else 128 - status


def _guarded(function: Callable[[bytes], int], directory: bytes, parent: int) -> int:
    def end(_number: int, _frame: FrameType | None) -> NoReturn:
        for other in ENDING:
            signal.signal(other, signal.SIG_IGN)  # nothing may interrupt the cleaning
        raise KeyboardInterrupt

    for number in ENDING:
        signal.signal(number, end)
    syscalls.die_with_parent(signal.SIGTERM)
    try:
        return function(directory) if os.getppid() == parent else 1
    except KeyboardInterrupt:
        return 130
    finally:
        if os.getppid() != parent:
            clean(directory)


@contextlib.contextmanager
def _ending_forwarded(pid: int) -> Iterator[None]:
    def forward(_number: int, _frame: FrameType | None) -> None:
        os.kill(pid, signal.SIGTERM)

    old = {number: signal.signal(number, forward) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def clean(directory: bytes) -> None:
    """Remove what `on_host` made: the unit, the mounts, the directory, if they are there.

    Raises: OSError where the directory can't be removed, such as EBUSY.
    """
    if systemd_runs():
        stop_unit(os.fsdecode(os.path.basename(directory)) + ".service")
    for point in reversed(_mounts_below(directory)):
        with contextlib.suppress(OSError):
            syscalls.umount(point, abi.MNT_DETACH | abi.UMOUNT_NOFOLLOW)  # only our own scratch mounts
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(directory)


def _mounts_below(directory: bytes) -> list[bytes]:
    with open("/proc/self/mountinfo", "rb") as file:
        points = [line.split(b" ")[4] for line in file]
    return [point for point in points if point == directory or point.startswith(directory + b"/")]
