"""Namespaces that no process is in: descriptors of one process hold them, which made each and went on to the next."""

import argparse
import os
import resource

from tests.siege.attacks.calls import CLONE_NEWNS, hold, own_namespace, spawn, unshare


def collect(count: int) -> None:
    """Make them and keep a descriptor of each."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    own_namespace()
    for _ in range(count):
        os.open("/proc/self/ns/mnt", os.O_RDONLY)
        unshare(CLONE_NEWNS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--namespaces", type=int, default=1500)
    options = parser.parse_args()
    spawn(lambda: collect(options.namespaces))
    hold()


if __name__ == "__main__":
    main()
