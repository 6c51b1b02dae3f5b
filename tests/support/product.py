"""The product on a test host, as plain files below /usr/local: what `make install` does."""

import importlib.util
import subprocess
import sys
from pathlib import Path

from tests.support import tree
from tests.support.shell import Shell

PROJECT = Path(__file__).resolve().parents[2]
LIBRARY = "/usr/local/lib/mountwarden"
LAUNCHER = f"""#!/usr/bin/python3 -I
import sys
sys.path.insert(0, {LIBRARY!r})
from mountwarden.cli.main import run
sys.exit(run())
"""


def install_product(host: Shell) -> None:
    """Put this checkout's product, its units and the one library that Debian does not package on a test host."""
    host.copy_in(PROJECT / "agent/mountwarden", f"{LIBRARY}/mountwarden")
    host.copy_in(_inotify_simple(), f"{LIBRARY}/inotify_simple.py")
    host.write("/usr/local/bin/mountwarden", LAUNCHER, 0o755)
    units = sorted((PROJECT / "units").glob("mountwarden*"))
    for unit in units:
        text = unit.read_text().replace("/usr/bin/mountwarden", "/usr/local/bin/mountwarden")
        host.write(f"/etc/systemd/system/{unit.name}", text)
    if units:
        host.run("systemctl", "daemon-reload")


def _inotify_simple() -> Path:
    """One pure-Python file: the tester's own where it has it, else from PyPI, kept in the cache."""
    found = importlib.util.find_spec("inotify_simple")
    if found and found.origin:
        return Path(found.origin)
    site = tree.cache() / "site"
    place = site / "inotify_simple.py"
    if not place.exists():
        pip = [sys.executable, "-m", "pip", "--quiet", "install", "--no-deps"]
        subprocess.run([*pip, "--target", str(site), "inotify-simple"], check=True)
    return place
