"""Runs on a test host: mounts at home, then copies them into many namespaces, and sleeps.

python3 crowd.py NAMESPACES MOUNTS: half of the mounts are overlays of the guarded root, half are of no interest. Each
namespace is a slave of home's, as systemd makes them, and has one process. "ready" is printed when all are there.
"""

import os
import signal
import sys

from mountwarden.kernel import abi, syscalls

ROOT = b"/srv/layers"


def mount(count: int) -> None:
    """`count` mounts at home."""
    os.makedirs(ROOT, exist_ok=True)
    syscalls.mount(b"layers", ROOT, b"tmpfs", 0, b"mode=755")
    syscalls.mount(None, ROOT, None, abi.MS_SHARED)
    for number in range(count):
        base = ROOT + b"/crowd-%d" % number
        names = (b"lower", b"upper", b"work", b"merged") if number % 2 else (b"merged",)
        for name in names:
            os.makedirs(base + b"/" + name)
        if number % 2:
            options = b"lowerdir=%b/lower,upperdir=%b/upper,workdir=%b/work" % (base, base, base)
            syscalls.mount(b"overlay", base + b"/merged", b"overlay", 0, options)
        else:
            syscalls.mount(b"x", base + b"/merged", b"tmpfs", 0, b"size=4k")


def copy() -> None:
    """One namespace with one process."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        syscalls.die_with_parent(signal.SIGKILL)
        syscalls.unshare(abi.CLONE_NEWNS)
        syscalls.mount(None, b"/", None, abi.MS_REC | abi.MS_SLAVE)
        os.close(reader)
        os.close(writer)
        while True:
            signal.pause()
    os.close(writer)
    os.read(reader, 1)
    os.close(reader)


def main() -> None:
    """Build it all, then sleep."""
    namespaces, mounts = (int(word) for word in sys.argv[1:])
    mount(mounts)
    for _ in range(namespaces):
        copy()
    print("ready", flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
