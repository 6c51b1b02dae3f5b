"""Writes the screens of README.md and docs/ anew: boots a test host, and runs what the documents show.

All of them or, where nothing but ids, times and counts would change, none: ids go from one screen to the next.

`python packaging/screens.py`, as root, with the tools of the tests. See tests/support/screens.py.
"""

import re
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT), str(PROJECT / "agent")]

from tests.support import screens  # noqa: E402
from tests.support.machine import Machine  # noqa: E402
from tests.support.product import install_product  # noqa: E402


def main() -> None:
    """Boot, run, and write every document that changes."""
    with Machine() as host:
        install_product(host)
        host.start_docker()
        host.import_image("docker")
        made = {name: screens.shortened(text) for name, text in screens.screens(host).items()}
    old_blocks = ((name, text) for name, texts in screens.shown().items() for text in texts)
    if all(screens.normal(text) == screens.normal(made[name]) for name, text in old_blocks):
        return
    for document in screens.DOCUMENTS:
        old = document.read_text()
        new = screens.BLOCK.sub(lambda match: _block(match, made), old)
        if new != old:
            document.write_text(new)
            print(document.relative_to(PROJECT))


def _block(match: re.Match[str], made: dict[str, str]) -> str:
    return f"{match['name']}{match[2]}{made[match['name']]}"


if __name__ == "__main__":
    main()
