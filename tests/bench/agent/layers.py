"""Runs on a test host: mounts many layers of the guarded root, or unmounts them without an rmdir.

layers mount|umount COUNT
"""

import sys

from mountwarden.kernel import syscalls

from tests.bench.agent import crowd

BASE = crowd.ROOT + b"/batch-"


def main() -> None:
    """Do one of these."""
    what, count = sys.argv[1], int(sys.argv[2])
    crowd.root(crowd.ROOT)
    for number in range(count):
        base = BASE + b"%d" % number
        if what == "mount":
            crowd.layer(base)
        else:
            syscalls.umount(base + b"/merged", 0)


if __name__ == "__main__":
    main()
