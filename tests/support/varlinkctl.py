"""systemd's own varlinkctl of a suite that no test host boots, as one directory that runs on any of them."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.support import mirror, tree
from tests.support.machine import Machine

RECIPE = "1"
"""Raise it when what is kept changes."""
PLACE = "/opt/varlinkctl"


def install(host: Machine, suite: str) -> tuple[str, ...]:
    """Put the program of `suite` on a test host; returns the words that run it."""
    host.copy_in(_kept(suite), PLACE)
    return f"{PLACE}/ld.so", "--library-path", f"{PLACE}/lib", f"{PLACE}/varlinkctl"


def _kept(suite: str) -> Path:
    """The program with its libraries, from a Debian tree that is made for it at the first use (about 30 s)."""
    place = tree.cache() / "trees" / f"varlinkctl-{suite}-{RECIPE}"
    if place.is_dir():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent) as aside:
        root, kept = Path(aside, "root"), Path(aside, "kept")
        _debootstrap(root, suite)
        (kept / "lib").mkdir(parents=True)
        shutil.copy(root / "usr/bin/varlinkctl", kept)
        said = subprocess.run(
            ["chroot", root, "ldd", "/usr/bin/varlinkctl"], capture_output=True, text=True, check=True
        )
        for path in (word for word in said.stdout.split() if word.startswith("/")):
            found = Path(root, path.lstrip("/"))
            shutil.copy(found, kept / "ld.so" if found.name.startswith("ld-") else kept / "lib")
        kept.rename(place)
    return place


def _debootstrap(root: Path, suite: str) -> None:
    command = [*tree.APART, "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", "--include=systemd"]
    # A mirror's copy of a suite that changes each day may be older than its Valid-Until.
    command += ['--aptopt=Acquire::Check-Valid-Until "false"', suite, str(root), *mirror.lines(suite)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise tree.TreeError(f"mmdebstrap failed ({done.returncode}):\n{done.stderr[-4000:]}")
