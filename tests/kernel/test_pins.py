"""Who holds a mount that is gone: small mount ids are given to new mounts at once."""

import os
from pathlib import Path

from mountwarden.observe import uses
from mountwarden.observe.pins import Pins


def test_an_id_that_a_new_mount_has_is_held_by_nobody() -> None:
    """This process's own root stands for the new mount that was given the id of one that went."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    reused = frozenset({int(next(line for line in lines if line.split()[4] == "/").split()[0])})
    proc = uses.open_proc()
    try:
        assert uses.users_by_mount(proc, reused), "the new mount has users"
    finally:
        os.close(proc)
    known, free = Pins().users([reused])
    assert known == {reused: ()}
    assert free == {reused}
