"""Runs on a test host: mounts at home, then copies them into many namespaces, and sleeps.

crowd NAMESPACES MOUNTS [unjudged]: half of the mounts are overlays of the guarded root; the others are of no interest:
small file systems in memory or, with `unjudged`, overlays below no root. Each namespace is a slave of home's, as
systemd makes them, and has one process. "ready" is printed when all are there.
"""

import os
import signal
import sys

from mountwarden.kernel import abi, syscalls

ROOT = b"/srv/layers"
ELSEWHERE = b"/srv/elsewhere"


def layer(base: bytes) -> None:
    """An overlay with its directories, as an engine's layer has them."""
    for name in (b"lower", b"upper", b"work", b"merged"):
        os.makedirs(base + b"/" + name, exist_ok=True)
    options = b"lowerdir=%b/lower,upperdir=%b/upper,workdir=%b/work" % (base, base, base)
    syscalls.mount(b"overlay", base + b"/merged", b"overlay", 0, options)


def root(path: bytes) -> None:
    """A file system in memory for them, shared with the namespaces that are made later."""
    os.makedirs(path, exist_ok=True)
    if not os.path.ismount(path):
        syscalls.mount(b"layers", path, b"tmpfs", 0, b"mode=755")
        syscalls.mount(None, path, None, abi.MS_SHARED)


def mount(count: int, *, unjudged: bool) -> None:
    """`count` mounts at home."""
    root(ROOT)
    root(ELSEWHERE)
    for number in range(count):
        if number % 2:
            layer(ROOT + b"/crowd-%d" % number)
        elif unjudged:
            layer(ELSEWHERE + b"/crowd-%d" % number)
        else:
            os.makedirs(point := ROOT + b"/crowd-%d/merged" % number)
            syscalls.mount(b"x", point, b"tmpfs", 0, b"size=4k")


def copy() -> None:
    """One namespace with one process, of a small program."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        syscalls.die_with_parent(signal.SIGKILL)
        syscalls.unshare(abi.CLONE_NEWNS)
        syscalls.mount(None, b"/", None, abi.MS_REC | abi.MS_SLAVE)
        os.execv("/bin/sleep", ["sleep", "infinity"])  # which closes the pipe
    os.close(writer)
    os.read(reader, 1)
    os.close(reader)


def main() -> None:
    """Build it all, then sleep."""
    namespaces, mounts = int(sys.argv[1]), int(sys.argv[2])
    mount(mounts, unjudged="unjudged" in sys.argv)
    for _ in range(namespaces):
        copy()
    print("ready", flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
