"""The kernel and its settings. Each function takes what it judges, or the folder to read it from."""

import os
from collections.abc import Iterable, Iterator, Mapping

from ..escape import printable
from ..model import SuperblockTest
from ..observe.capabilities import NEEDED, REFUSALS, Interface
from ..output.columns import count
from .check import Check, Status

GROUP = "kernel"
_NEAR = 0.5
"""The part of fs.mount-max from which on it is a warning; 1 is all of it."""
_FULL = 0.95


def release(name: str, tier: str | None, reason: str) -> Check:
    """The kernel, and which of its interfaces a scan uses."""
    uses = f"; scans use {tier} ({reason})" if tier else ""
    return Check("kernel.release", GROUP, Status.OK, f"Linux {printable(name)}{uses}")


def superblock_test(way: SuperblockTest, why: str, *, service: bool) -> Check:
    """What the service, or a scan of one's own, asks after an umount on the host."""
    name, who = "kernel.superblock-test", "the service" if service else "a scan"
    whether = "whether what the host unmounted lives on elsewhere"
    if way is SuperblockTest.USTAT:
        return Check(name, GROUP, Status.OK, f"{who} asks ustat(2) {whether}")
    hint = (
        "if a filter forbids ustat(2): systemctl cat mountwarden.service, SystemCallFilter=" if "EPERM" in why else None
    )
    if way is SuperblockTest.INOTIFY:
        return Check(name, GROUP, Status.WARN if hint else Status.OK, f"{who} asks inotify(7) {whether}: {why}", hint)
    text = f"{who} can't ask {whether}, and reads all namespaces after an umount: {why}"
    return Check(name, GROUP, Status.WARN, text, hint or "mountwarden who names who keeps a file system that hangs")


def interfaces(tried: Iterable[Interface]) -> Iterator[Check]:
    """One line each: it works, it is not in this kernel, or it may not be used here."""
    for one in tried:
        yield _interface(one)


def _interface(one: Interface) -> Check:
    name, group = "kernel.interface", GROUP
    if one.available:
        return Check(name, group, Status.OK, f"{one.name}: {one.meaning}")
    text = f"{one.name}: {one.errno}, {one.meaning}"
    worse = Status.FAIL if one.name == NEEDED else None
    if one.errno in REFUSALS:
        hint = "run it as root on the host itself: a container's filter, or its pid namespace, forbids some"
        return Check(name, group, worse or Status.WARN, text, hint)
    return Check(name, group, worse or Status.OK, text, "a newer kernel has it")


def may_detach(sysctls: str = "/proc/sys") -> Check:
    """fs.may_detach_mounts, which kernels of RHEL 7 alone have."""
    name, group = "kernel.may-detach-mounts", GROUP
    value = _sysctl(sysctls, "fs/may_detach_mounts")
    if value == "0":
        text = "fs.may_detach_mounts is 0: removing a mountpoint that another namespace has in use fails with EBUSY"
        hint = "sysctl fs.may_detach_mounts=1, and the same line in /etc/sysctl.d/"
        return Check(name, group, Status.FAIL, text, hint)
    text = "no such switch: always so" if value is None else f"fs.may_detach_mounts is {printable(value)}"
    return Check(name, group, Status.OK, f"a mountpoint's removal detaches its copies everywhere ({text})")


def mount_max(mounts: Mapping[int, int], sysctls: str = "/proc/sys") -> Check | None:
    """How near the fullest namespace is to fs.mount-max, at which mount(2) gives ENOSPC.

    `mounts` has the number of each namespace's, by inode.
    """
    value = _sysctl(sysctls, "fs/mount-max")
    if value is None or not value.isdigit() or not mounts:
        return None
    most, inode = max((many, inode) for inode, many in mounts.items())
    part = most / max(1, int(value))
    text = f"fs.mount-max is {int(value):,}; the fullest namespace ({inode}) has {count(most, 'mount')}"
    status = Status.FAIL if part >= _FULL else Status.WARN if part >= _NEAR else Status.OK
    hint = f"find what piles up: findmnt -N PID of a process in mount namespace {inode}"
    return Check("kernel.mount-max", GROUP, status, text, None if status is Status.OK else hint)


def selinux(enforce: str = "/sys/fs/selinux/enforce") -> Check:
    """Whether SELinux has a say in what the service does."""
    name, group = "kernel.selinux", GROUP
    try:
        with open(enforce, encoding="ascii") as file:
            value = file.read().strip()
    except FileNotFoundError:
        return Check(name, group, Status.OK, "SELinux is not in use")
    except OSError as error:
        return Check(
            name, group, Status.WARN, f"SELinux: not known ({os.strerror(error.errno or 0)})", "run it as root"
        )
    if value == "1":
        text = "SELinux is enforcing: a directory that a detach puts in place keeps the label of the old one"
        return Check(name, group, Status.OK, text, "where a detach fails with EACCES: ausearch -m avc -c mountwarden")
    return Check(name, group, Status.OK, "SELinux is permissive: it forbids nothing")


def _sysctl(folder: str, name: str) -> str | None:
    try:
        with open(os.path.join(folder, name), encoding="ascii", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return None
