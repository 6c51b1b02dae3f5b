"""Namespaces whose mountinfo is huge: bind mounts below a deep path of newlines, each of which is four bytes there.

80 lines of 400 KiB are 32 MiB, 1,100 of 1 MiB are a GiB; `--name shm` puts what a guarded layout ends with into each.
"""

import argparse
import os
from functools import partial

from tests.siege.attacks.calls import MS_BIND, hold, mount, own_namespace, spawn

LEVEL = b"\n" * 255


def fill(mounts: int, depth: int, name: bytes) -> None:
    """A namespace of one's own with so many mounts; both paths of a line have `depth` levels of 1 KiB."""
    own_namespace()
    deepen(mounts, depth, name)


def deepen(mounts: int, depth: int, name: bytes) -> None:
    """The same in the namespace that the caller is in."""
    mount(b"deep", b"/tmp", b"tmpfs")
    os.chdir("/tmp")
    for _ in range(depth):
        os.mkdir(LEVEL)
        os.chdir(LEVEL)
    for number in range(mounts):
        place = b"%d/%b" % (number, name)
        os.makedirs(place)
        mount(b".", place, None, MS_BIND)
    os.chdir("/")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--namespaces", type=int, default=1)
    parser.add_argument("--mounts", type=int, default=80)
    parser.add_argument("--depth", type=int, default=206)
    parser.add_argument("--name", default="x")
    options = parser.parse_args()
    for _ in range(options.namespaces):
        spawn(partial(fill, options.mounts, options.depth, os.fsencode(options.name)))
    hold()


if __name__ == "__main__":
    main()
