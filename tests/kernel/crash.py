"""Runs an act under strace(1), which kills it at its Nth system call: in a pid namespace of few processes."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from mountwarden.kernel import abi
from mountwarden.kernel import syscalls as calls
from mountwarden.model import Action, Finding, Outcome
from mountwarden.mounts.table import Table
from mountwarden.observe.enter import own_namespace
from mountwarden.remedies import apply, sharing_group
from mountwarden.scan.scanner import Scanner

from tests.kernel.topology import CONFIG, ROOT
from tests.support.scratch_ns import Namespace, Sandbox, in_child, overlay

T = TypeVar("T")

STRACE = shutil.which("strace")
MERGED = ROOT + b"/X/merged"
CHANGING = (
    "mkdir,mkdirat,openat2,fchown,fchmod,fsetxattr,flistxattr,fgetxattr,ioctl,utimensat,rename,renameat,renameat2,"
    "rmdir,unlinkat,mount,mount_setattr,move_mount,umount2,open_tree,setns,fchdir"
)
"""What an act does besides reading /proc."""


def killed_at(act: Callable[[], bool], number: int, syscalls: str) -> int:
    """Run `act` in a child and kill it, and each of its children, at their Nth call of `syscalls`; 0 kills none.

    Returns the most calls that one of them made.
    """
    return traced(act, syscalls, f"signal=KILL:when={number}" if number else None)[0]


def traced(act: Callable[[], bool], syscalls: str, inject: str | None) -> tuple[int, bool]:
    """The same with any injection of strace(1); returns also whether the act was done."""
    assert STRACE
    pid = os.fork()
    if pid == 0:
        calls.die_with_parent(signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0 if act() else 1)
    os.waitpid(pid, os.WUNTRACED)
    injection = ["-e", f"inject={syscalls}:{inject}"] if inject else []
    command = [STRACE, "-f", "-e", f"trace={syscalls}", "-e", "signal=none", *injection, "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env={"LC_ALL": "C", "PATH": os.environ["PATH"]}) as tracer:
        assert tracer.stderr
        assert b"attached" in tracer.stderr.readline()
        os.kill(pid, signal.SIGCONT)
        log = tracer.stderr.read()
        status = os.waitpid(pid, 0)[1]
    _reap_orphans()
    made = Counter(match[1] for match in re.finditer(rb"(?m)^(\[pid +\d+\] )?[a-z]\w*\(", log))
    return max(made.values(), default=0), status == 0


def _reap_orphans() -> None:
    """The act's own children, killed with it, are ours as PID 1: what ended stays in the /proc that acts read."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def in_few_processes(function: Callable[[Sandbox], T], timeout: float) -> T:
    """Call the function in a pid namespace with its own /proc, in a sandbox whose root is shared."""

    def inner() -> T:
        calls.unshare(abi.CLONE_NEWPID | abi.CLONE_NEWNS)
        calls.mount(None, b"/", None, abi.MS_REC | abi.MS_PRIVATE)

        def first() -> T:
            calls.mount(b"proc", b"/proc", b"proc")
            calls.mount(b"tmpfs", b"/mnt", b"tmpfs", 0, b"mode=755")
            calls.mount(None, b"/mnt", None, abi.MS_SHARED)
            os.makedirs(ROOT)
            return function(Sandbox())

        return in_child(first, timeout)

    return in_child(inner, timeout)


LONG_ENOUGH = 300.0
"""Seconds after which a race is over, with as many rounds as a slow machine has managed by then."""


def rounds_of(counts: Counter[str], rounds: int, within: int) -> Iterator[None]:
    """The rounds of a race: as many as asked for, and more while too few of their steps fell in the window.

    On a busy machine the hostile process is often late. It gets ten times the rounds; what is judged is the same.
    """
    until = time.monotonic() + LONG_ENOUGH
    while counts["rounds"] < rounds or (counts["in the window"] < within and counts["rounds"] < 10 * rounds):
        if time.monotonic() > until:
            return
        yield


def assert_in_the_window(counts: Mapping[str, int], rounds: int, within: int) -> None:
    """Of so many rounds at least `within` steps fell in the window; of fewer, as great a part."""
    done = min(counts["rounds"], rounds)
    assert counts["in the window"] >= max(1, done * within // rounds), counts


def scanner() -> Scanner:
    return Scanner(CONFIG, home=own_namespace())


def outcome(action: Action, namespace: int | None, kind: str = "leaked") -> Callable[[], Outcome]:
    """The act on the finding of that kind, of that namespace."""
    found: tuple[Finding, ...] = scanner().scan().findings
    (finding,) = (f for f in found if f.kind == kind and (namespace is None or namespace in f.namespaces))
    return lambda: apply.carry_out(finding, scanner(), action)


def act(action: Action, kind: str, namespace: int | None) -> Callable[[], bool]:
    """The same; whether it was done."""
    run = outcome(action, namespace, kind)
    return lambda: run().done


def carry_out_all() -> Iterator[Outcome]:
    """The detach of all leaks in one go."""
    found = [finding for finding in scanner().scan().findings if finding.kind == "leaked"]
    return apply.carry_out_all(found, scanner(), Action.DETACH)


def act_all() -> Callable[[], bool]:
    """The same; whether each was done."""
    outcomes = carry_out_all()
    return lambda: all(outcome.done for outcome in outcomes)


def joining(holder: Namespace) -> tuple[Callable[[], bool], Any]:
    """The acting half of a rejoin. What chooses its mounts needs a service, so that the test host tests it."""
    home, there = (Table.from_text(text) for text in (Namespace(os.getpid()).mountinfo(), holder.mountinfo()))
    source, target = home.containing(b"/mnt"), there.containing(b"/mnt")
    assert source
    assert target
    pair, inode = sharing_group.Pair(source, target), holder.inode

    def join() -> bool:
        with sharing_group.alive(holder.pid):
            root = os.open(f"/proc/{holder.pid}/root", os.O_PATH)
        proc = os.open("/proc", os.O_PATH)
        sharing_group.join_all([pair], holder.pid, inode, root, proc)
        return True

    return join, pair


def dress() -> None:
    """The mountpoint, with attributes of its own."""
    os.makedirs(MERGED, exist_ok=True)
    os.chown(MERGED, 12, 34)
    os.chmod(MERGED, 0o2751)
    os.setxattr(MERGED, "trusted.label", b"kept")


def layer() -> None:
    """A layer of the root, mounted on a dressed mountpoint."""
    dress()
    overlay(ROOT + b"/X")


def dressed_at(path: bytes) -> bool:
    """Whether it is there, empty, and as `dress` made it."""
    status = os.stat(path)
    same = (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o2751, 12, 34)
    return same and os.getxattr(path, "trusted.label") == b"kept" and os.listdir(path) == []


def dressed() -> bool:
    """The same of the mountpoint."""
    return dressed_at(MERGED)
