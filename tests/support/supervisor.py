"""The process between a test and a test host: boots it, and takes it away again even when the test process is killed.

`python3 supervisor.py JSON` is started by `tests.support.machine` alone. It prints the pid of the test host's init and
the name of its control group, and waits until its stdin is closed (the test process ended or says so) or init ends. It
then kills init, with which the kernel ends every process of that pid namespace and every mount, and removes the control
group.
"""

import contextlib
import errno
import json
import os
import resource
import secrets
import select
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from mountwarden.kernel import abi, syscalls

CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x02000000, 0x04000000, 0x08000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000

GROUP = "mountwarden-test"
"""Control groups are named GROUP-SUPERVISOR'S PID-RANDOM."""

STAGE = Path("/mnt")
INIT = ["/sbin/init", "systemd.unified_cgroup_hierarchy=1"]
ENVIRONMENT = {"container": "other", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}

NODES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0),
         "fuse": (10, 229), "net/tun": (10, 200), "loop-control": (10, 237), "mapper/control": (10, 236)}  # fmt: skip
LOOP_DEVICES = 64
"""The kernel hands out the lowest free one, so other test hosts' devices count too."""


def main() -> int:
    """Boot, report, wait, clean up."""
    wanted = json.loads(sys.argv[1])
    syscalls.unshare(abi.CLONE_NEWNS)
    syscalls.mount(None, b"/", flags=abi.MS_REC | abi.MS_PRIVATE)
    syscalls.mount(b"cgroup2", bytes(STAGE), b"cgroup2")
    _sweep(STAGE)
    group = STAGE / f"{GROUP}-{os.getpid()}-{secrets.token_hex(4)}"
    group.mkdir()
    syscalls.unshare(CLONE_NEWPID)
    try:
        return _watch(wanted, group)
    finally:
        _remove_group(group)


def _watch(wanted: dict[str, Any], group: Path) -> int:
    init = os.fork()
    if init == 0:
        _become_init(wanted, group)
    print(init, group.name, flush=True)
    end = os.pidfd_open(init)
    select.select([end, sys.stdin], [], [])
    os.kill(init, signal.SIGKILL)
    status = os.waitpid(init, 0)[1]
    return 0 if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status)


def _become_init(wanted: dict[str, Any], group: Path) -> None:
    try:
        syscalls.die_with_parent(signal.SIGKILL)
        _set_file_limit()
        (group / "cgroup.procs").write_text("0")
        syscalls.unshare(abi.CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP | CLONE_NEWNET)
        root = _stage(wanted)
        _enter(root)
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1):
            os.dup2(null, fd)
        os.closerange(3, 256)
        os.execve(INIT[0], INIT, ENVIRONMENT)
    except BaseException as error:
        print(f"test host: {error!r}", file=sys.stderr, flush=True)
        os._exit(1)


def _set_file_limit() -> None:
    """systemd's own default, where the tester may raise the hard limit that far."""
    with contextlib.suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 524288))


def _stage(wanted: dict[str, Any]) -> Path:
    syscalls.umount(bytes(STAGE))
    syscalls.mount(b"tmpfs", bytes(STAGE), b"tmpfs", data=b"mode=755")
    root, upper, work = (STAGE / name for name in ("root", "upper", "work"))
    for directory in (root, upper, work):
        directory.mkdir()
    layers = f"lowerdir={wanted['tree']},upperdir={upper},workdir={work}"
    syscalls.mount(b"overlay", bytes(root), b"overlay", data=os.fsencode(layers))
    syscalls.mount(b"proc", bytes(root / "proc"), b"proc", abi.MS_NOSUID | abi.MS_NODEV | abi.MS_NOEXEC)
    syscalls.mount(b"sysfs", bytes(root / "sys"), b"sysfs", abi.MS_NOSUID | abi.MS_NODEV | abi.MS_NOEXEC)
    syscalls.mount(b"cgroup2", bytes(root / "sys/fs/cgroup"), b"cgroup2", abi.MS_NOSUID | abi.MS_NODEV | abi.MS_NOEXEC)
    syscalls.mount(b"tmpfs", bytes(root / "run"), b"tmpfs", abi.MS_NOSUID | abi.MS_NODEV, b"mode=755")
    _make_devices(root / "dev")
    for place, options in wanted["tmpfs"].items():
        mountpoint = root / place.lstrip("/")
        mountpoint.mkdir(parents=True, exist_ok=True)
        syscalls.mount(b"tmpfs", bytes(mountpoint), b"tmpfs", data=os.fsencode(options))
    return root


def _make_devices(dev: Path) -> None:
    """A /dev of its own: what units and engines make there must not reach the machine that runs the tests."""
    syscalls.mount(b"tmpfs", bytes(dev), b"tmpfs", abi.MS_NOSUID, b"mode=755,size=1m")
    os.umask(0)
    for name in ("pts", "shm", "net", "mapper"):
        (dev / name).mkdir()
    for name, (major, minor) in NODES.items():
        os.mknod(dev / name, stat.S_IFCHR | (0o600 if minor > 230 else 0o666), os.makedev(major, minor))
    for number in range(LOOP_DEVICES):
        os.mknod(dev / f"loop{number}", stat.S_IFBLK | 0o660, os.makedev(7, number))
    os.umask(0o022)
    for name, target in {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}.items():
        (dev / name).symlink_to(target if name == "fd" else f"/proc/self/{target}")
    (dev / "ptmx").symlink_to("pts/ptmx")
    options = b"newinstance,ptmxmode=0666,mode=620,gid=5"
    syscalls.mount(b"devpts", bytes(dev / "pts"), b"devpts", abi.MS_NOSUID | abi.MS_NOEXEC, options)
    syscalls.mount(b"tmpfs", bytes(dev / "shm"), b"tmpfs", abi.MS_NOSUID | abi.MS_NODEV, b"mode=1777")


def _enter(root: Path) -> None:
    os.chdir(root)
    subprocess.run(["pivot_root", ".", "mnt"], check=True)
    os.chroot(".")
    os.chdir("/")
    syscalls.umount(b"/mnt", abi.MNT_DETACH)


def _sweep(groups: Path) -> None:
    """Remove the control groups of test hosts whose supervisor was itself killed."""
    for group in groups.glob(f"{GROUP}-*"):
        if not os.path.exists(f"/proc/{group.name.split('-')[-2]}"):
            with contextlib.suppress(OSError):
                _remove_tree(group)


def _remove_group(group: Path) -> None:
    """Its last processes are those that entered from outside; they are dying, which takes a moment."""
    deadline = time.monotonic() + 5
    while True:
        try:
            return _remove_tree(group)
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.005)


def _remove_tree(group: Path) -> None:
    for directory, _names, _files in os.walk(group, topdown=False):
        os.rmdir(directory)


if __name__ == "__main__":
    sys.exit(main())
