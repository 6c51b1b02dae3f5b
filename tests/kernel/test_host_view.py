"""What a command needs of its own tree after it has left that tree's mount namespace: nothing."""

import json
import subprocess
import sys
from pathlib import Path

import mountwarden
import pytest

AGENT = Path(mountwarden.__file__).parents[1]
OPTIONAL = ("pystemd", "inotify_simple", "sdnotify", "lxml")
CODE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from mountwarden.cli import host_view, main

missed = []

class Nowhere:
    def find_spec(self, name, path=None, target=None):
        missed.append(name)
        raise ModuleNotFoundError(name)

def gone(command, arguments):
    host_view._load_all()
    sys.meta_path[:] = [Nowhere()]

host_view.enter = gone
try:
    status = main.main(sys.argv[2:])
finally:
    print(json.dumps(missed), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "words",
    [
        ("report", "--no-wait"),
        ("report", "--no-wait", "--json", "--unit", "absent"),
        ("explain", "--no-wait", "mw-0000000000"),
        ("plan", "--no-wait"),
        ("who", "/"),
        ("who", "no-such-container"),
        ("predict", "umount", "/proc"),
        ("map", "--no-wait", "--svg"),
        ("doctor",),
        ("status",),
        ("history",),
        ("snapshot", "-", "--no-wait", "--anonymous"),
        ("detach", "mw-0000000000", "--no-wait"),
    ],
    ids=lambda words: "-".join(words),
)
def test_nothing_is_imported_after_the_tree_is_gone(words: tuple[str, ...]) -> None:
    command = [sys.executable, "-I", "-B", "-c", CODE, str(AGENT), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    missed = json.loads(done.stderr.splitlines()[-1])
    assert [name for name in missed if not name.startswith(OPTIONAL)] == [], done.stderr
    assert done.returncode in (0, 1, 2), done.stderr
    assert "Traceback" not in done.stderr
