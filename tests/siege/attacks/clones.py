"""Private copies of the host's namespace, each with a process: a layer that is live then leaks when it is unmounted."""

import argparse

from tests.siege.attacks.calls import hold, own_namespace, spawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--namespaces", type=int, default=300)
    options = parser.parse_args()
    for _ in range(options.namespaces):
        spawn(own_namespace)
    hold()


if __name__ == "__main__":
    main()
