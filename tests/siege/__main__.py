"""`make siege`: all attacks at once for some minutes, beside containers and leaks of another tenant; prints a table.

python -m tests.siege [--minutes N] [--containers N] [--leaks N] [--short] [--docs DIRECTORY]: the exit status is 1
where an aim is missed. With --docs, siege.md is written there.
"""

import argparse
import os
import sys
from pathlib import Path

from tests.bench.agent.__main__ import machine
from tests.bench.agent.figures import table
from tests.siege.campaign import BY_USERS, IN_CONTAINERS, Siege
from tests.support import tree

HEAD = """# A siege

Written by `make siege`. It boots a test host with containers of Docker, lets three ordinary users and containers of
Docker and Podman run all attacks of `tests/siege/attacks` at once, and plants leaks of another tenant meanwhile.
[The threat model](threat-model.md) has each attack with its own test. Processor time and memory are those of the
service and its children. The attackers use whatever the machine has.
"""


def attacks(siege: Siege) -> str:
    """What runs."""
    rows = [
        (user, f"`{' '.join([attack, *(full if siege.whole else short).split()])}`")
        for user, attack, _name, full, short in BY_USERS
    ]
    rows += [
        (f"container ({engine})", f"`{script}`" + ", privileged" * bool(flags))
        for engine, script, flags in IN_CONTAINERS
    ]
    return table(("who", "attack"), rows)


def page(siege: Siege) -> str:
    """The page of the results."""
    rows = [(row.what, row.aim, row.measured, "yes" if row.met else "**no**") for row in siege.rows]
    title = f"{siege.seconds / 60:g} minutes, {siege.containers} containers, {siege.leaks} leaks"
    parts = [HEAD, machine() + "\n", f"## {title}\n", table(("what", "aim", "measured", "met"), rows)]
    return "\n".join([*parts, "## The attacks\n", attacks(siege)])


def main() -> int:
    """Parse, check, run."""
    parser = argparse.ArgumentParser(prog="make siege", description=__doc__)
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("SIEGE_MINUTES") or 10))
    parser.add_argument("--containers", type=int, default=200)
    parser.add_argument("--leaks", type=int, default=20)
    parser.add_argument("--short", action="store_true", help="a tenth of each attack")
    parser.add_argument("--docs", type=Path, help="write siege.md into this directory")
    args = parser.parse_args()
    if reason := tree.obstacle():
        parser.exit(2, f"no test host can run here: {reason}\n")
    siege = Siege(args.minutes * 60, args.containers, args.leaks, whole=not args.short)
    siege.run()
    text = page(siege)
    print(text)
    if args.docs:
        (args.docs / "siege.md").write_text(text)
    return 0 if siege.met else 1


if __name__ == "__main__":
    sys.exit(main())
