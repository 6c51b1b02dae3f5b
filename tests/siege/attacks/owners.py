"""The same by many uids: those that /etc/subuid gives one user, each of which makes a user namespace of its own."""

import argparse
import os
import signal
import subprocess
from functools import partial

from tests.siege.attacks.calls import CLONE_NEWUSER, end_with_parent, hold, own_files, spawn, unshare
from tests.siege.attacks.long_lines import fill


def as_owner(number: int, mounts: int, depth: int) -> None:
    """Fill a namespace as that uid of the map."""
    os.setgid(number)
    os.setuid(number)
    own_files()
    fill(mounts, depth, b"shm")


def mapped(work: partial[None]) -> None:
    """Do the work in a child that is root in a user namespace with the whole of the user's subordinate ids."""
    told, tell = os.pipe()
    go, let_go = os.pipe()
    child = os.fork()
    if child == 0:
        end_with_parent()
        unshare(CLONE_NEWUSER)
        os.write(tell, b"x")
        os.read(go, 1)
        work()
        os.write(tell, b"x")
        while True:
            signal.pause()
    os.read(told, 1)
    for tool, own in (("newuidmap", os.getuid()), ("newgidmap", os.getgid())):
        subprocess.run([tool, str(child), "0", str(own), "1", "1", "100000", "65536"], check=True)
    os.write(let_go, b"x")
    os.close(tell)
    if not os.read(told, 1):
        raise ChildProcessError("the owners' parent ended")


def many(owners: int, mounts: int, depth: int) -> None:
    """One process for each owner."""
    os.setgroups([])
    for number in range(1, owners + 1):
        spawn(partial(as_owner, number, mounts, depth))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--owners", type=int, default=200)
    parser.add_argument("--mounts", type=int, default=40)
    parser.add_argument("--depth", type=int, default=60)
    options = parser.parse_args()
    mapped(partial(many, options.owners, options.mounts, options.depth))
    hold()


if __name__ == "__main__":
    main()
