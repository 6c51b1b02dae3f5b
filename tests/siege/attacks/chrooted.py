"""Namespaces whose only process has another root, so that its mountinfo does not show what is mounted there."""

import argparse
import os

from tests.siege.attacks.calls import CLONE_NEWNS, hold, own_namespace, spawn, unshare


def jail() -> None:
    """A namespace more, and a root below its own."""
    unshare(CLONE_NEWNS)
    os.chroot("/tmp")
    os.chdir("/")


def all_of_them(count: int) -> None:
    """One user namespace, so many processes in so many mount namespaces."""
    own_namespace()
    for _ in range(count):
        spawn(jail)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--namespaces", type=int, default=600)
    options = parser.parse_args()
    spawn(lambda: all_of_them(options.namespaces))
    hold()


if __name__ == "__main__":
    main()
