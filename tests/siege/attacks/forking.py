"""A namespace whose only process forks and exits all the time: no list of processes has one that is still there."""

import argparse
import os
import time

from tests.siege.attacks.calls import become_reaper, own_namespace, ready


def chain(pause: float) -> None:
    """Be the next process of the chain, for ever."""
    while True:
        if os.fork():
            os._exit(0)
        time.sleep(pause)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chains", type=int, default=1, help="namespaces")
    parser.add_argument("--pause", type=float, default=0.001, help="seconds of a life")
    options = parser.parse_args()
    become_reaper()
    for _ in range(options.chains):
        reader, writer = os.pipe()
        if os.fork() == 0:
            own_namespace()
            os.write(writer, b"x")
            os.close(writer)
            chain(options.pause)
        os.close(writer)
        if not os.read(reader, 1):
            raise ChildProcessError("no chain")
        os.close(reader)
    ready()
    while True:
        os.wait()


if __name__ == "__main__":
    main()
