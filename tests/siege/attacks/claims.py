"""Mounts whose text says that they are layers of an engine, or network namespaces: candidates all of them."""

import argparse
import os

from tests.siege.attacks.calls import CLONE_NEWNET, MS_BIND, hold, mount, own_namespace, spawn, unshare


def claim(count: int, root: bytes) -> None:
    """So many of each kind in a namespace of one's own."""
    own_namespace()
    unshare(CLONE_NEWNET)
    mount(b"claims", b"/tmp", b"tmpfs")
    os.makedirs(b"/tmp/lower/overlay2")
    for number in range(count):
        base = b"/tmp/%d" % number
        for name in (b"upper", b"work", b"merged", b"shm"):
            os.makedirs(base + b"/" + name)
        with open(base + b"/netns", "wb"):
            pass
        layers = b"userxattr,lowerdir=/tmp/lower,upperdir=%b/upper,workdir=%b/work" % (base, base)
        mount(b"overlay", base + b"/merged", b"overlay", 0, layers)
        mount(b"upperdir=%b/%d/diff" % (root, number), base + b"/shm", b"tmpfs", 0, b"size=4k")
        mount(b"/proc/self/ns/net", base + b"/netns", None, MS_BIND)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mounts", type=int, default=500, help="of each kind")
    parser.add_argument("--namespaces", type=int, default=1)
    parser.add_argument("--root", default="/srv/layers", help="whose layers they claim to be")
    options = parser.parse_args()
    for _ in range(options.namespaces):
        spawn(lambda: claim(options.mounts, os.fsencode(options.root)))
    hold()


if __name__ == "__main__":
    main()
