"""The user's inotify instances and watches used up in fact, within a user namespace's own limits."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("inotify_simple")

PROGRAM = """
import os, sys
from mountwarden.service.triggers import Triggers, Wake, Watch

def limit(number):
    with open(f"/proc/sys/user/max_inotify_{sys.argv[1]}", "w") as file:
        file.write(str(number))

limit(0 if sys.argv[1] == "instances" else 1)
triggers = Triggers("/proc/self/mountinfo")
places = [os.path.join(sys.argv[2], name).encode() for name in "abc"]
for place in places:
    os.mkdir(place)
wanted = [Watch(place, 0x100, Wake.ROOTS) for place in places]
print(triggers.watch(wanted), triggers.has_inotify)
print(triggers.wait(0.01) == frozenset())
limit(100)
print(triggers.watch(wanted), triggers.has_inotify)
for place in places:
    os.mkdir(place + b"/new")
    print(*triggers.wait(5))
triggers.close()
"""


@pytest.mark.parametrize("what", ["instances", "watches"])
def test_it_goes_on_by_its_tick_says_so_and_watches_once_it_can(tmp_path: Path, what: str) -> None:
    command = ["unshare", "--user", "--map-root-user", sys.executable, "-c", PROGRAM, what, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ":".join(sys.path)})
    assert done.stdout.split("\n") == ["False False", "True", "True True", "roots", "roots", "roots", ""], done.stderr
