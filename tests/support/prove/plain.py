"""The same without hypothesis, for kernels in a virtual machine whose userland has only Python.

`python3 -m tests.support.prove.plain TOPOLOGIES SEED`, in the checkout with agent/ in PYTHONPATH: prints which
behaviour the kernel has, and the table. Exit status 1 where any prediction was wrong.
"""

import sys

from mountwarden.observe.umount_probe import probe_behaviour

from tests.support.prove.steps import seeded
from tests.support.prove.tally import Tally
from tests.support.prove.worker import worker


def main(argv: list[str]) -> int:
    """TOPOLOGIES SEED."""
    examples, seed = int(argv[0]), int(argv[1])
    print(f"overmounts: {probe_behaviour()}", flush=True)
    tally = Tally()
    with worker() as attempt:
        for number in range(examples):
            scenario = seeded(seed + number)
            tally.note(scenario, attempt(scenario))
    print(tally.table())
    for problem in tally.problems[:3]:
        print(f"\nWRONG: {problem}")
    return 1 if tally.problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
