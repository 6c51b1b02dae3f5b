"""One mountpoint with so many mounts on each other; each is attached to the last one's root, which needs no walk."""

import argparse
import os

from tests.siege.attacks.calls import attach, copy_of, hold, mount, own_namespace, spawn


def pile(count: int, name: str) -> None:
    """Make the stack in a namespace of one's own."""
    own_namespace()
    mount(b"stack", b"/tmp", b"tmpfs")
    os.makedirs(f"/tmp/{name}")
    top = os.open(f"/tmp/{name}", os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(count):
        above = copy_of(top)
        attach(above, top)
        os.close(top)
        top = above
    os.close(top)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mounts", type=int, default=20_000)
    parser.add_argument("--name", default="shm")
    options = parser.parse_args()
    spawn(lambda: pile(options.mounts, options.name))
    hold()


if __name__ == "__main__":
    main()
