"""Namespaces that come and go as fast as they can, each in a user namespace of its own.

With `--chroot`, no process of theirs shows what is mounted there.
"""

import argparse
import os
import time

from tests.siege.attacks.calls import own_namespace, ready


def one(jailed: bool, pause: float) -> None:
    """A life."""
    own_namespace()
    if jailed:
        os.chroot("/tmp")
    time.sleep(pause)
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=1 << 62, help="how many in all")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds of a life")
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--chroot", action="store_true")
    options = parser.parse_args()
    ready()
    living = made = 0
    while made < options.most:
        if os.fork() == 0:
            one(options.chroot, options.pause)
        living, made = living + 1, made + 1
        if made % 1000 == 0:
            print(made, flush=True)
        while living >= options.at_once:
            os.wait()
            living -= 1
    print(f"{made} in all", flush=True)
    while True:
        time.sleep(1000)


if __name__ == "__main__":
    main()
