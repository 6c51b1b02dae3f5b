"""`make prove`: so many random topologies, each predicted and then tried. Exit status 1 where any was wrong."""

import os
import sys
import time

from tests.support.prove import search
from tests.support.prove.document import document

_SHOWN = 3
_DISTINCT = 0.97
"""hypothesis repeats an example now and then; a few more are tried, so that as many as asked for are distinct."""


def main(argv: list[str]) -> int:
    """[TOPOLOGIES [SEED [FILE]]]: 10,000 by default, of a seed that is printed; FILE gets the document of the run."""
    examples = int(argv[0]) if argv else 10_000
    seed = int(argv[1]) if len(argv) > 1 and argv[1] else time.time_ns() % 1_000_000
    file = argv[2] if len(argv) > 2 else None
    if os.geteuid() != 0:
        print("prove: mount namespaces need root", file=sys.stderr)
        return 2
    print(f"{examples:,} topologies, seed {seed}", flush=True)
    started = time.monotonic()
    tally = search.in_parallel(int(examples / _DISTINCT), seed, len(os.sched_getaffinity(0)))
    print(tally.table())
    print(f"\n{time.monotonic() - started:.0f} s")
    wrong = list(tally.shortcomings())
    if len(tally.distinct) < examples:
        wrong.append(f"only {len(tally.distinct):,} topologies were distinct")
    for text in wrong[:_SHOWN]:
        print(f"\nWRONG: {text}")
    if file and not wrong:
        with open(file, "w") as written:
            written.write(document(tally, examples, seed))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
