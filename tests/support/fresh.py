"""A fresh machine: a Debian tree with git and make, as the README's prerequisites leave it, and nothing else.

It is entered by chroot in namespaces of its own, over an upper layer in memory, with this machine's network.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support import mirror, tree

NEEDS = (
    pytest.mark.skipif(os.geteuid() != 0, reason="building a machine needs root"),
    pytest.mark.skipif(not shutil.which("mmdebstrap"), reason="building a machine needs mmdebstrap"),
)
"""For the `pytestmark` of tests that need such a machine."""

RECIPE = "1"
"""Raise it when what is installed changes."""

_ENTER = """
set -e
cd "$1"
mount -t tmpfs -o mode=755 none .
mkdir upper work root
mount -t overlay -o "lowerdir=$2,upperdir=upper,workdir=work" none root
cp -L /etc/resolv.conf root/etc/resolv.conf
# Installing ca-certificates writes its bundle anew, without an authority that only this machine trusts.
[ -z "$PIP_CERT" ] || { cp -L "$PIP_CERT" root/etc/trusted-here.crt && PIP_CERT=/etc/trusted-here.crt; }
mkdir root/root/mountwarden
cp -R "$3/." root/root/mountwarden
mount -t proc proc root/proc
mount --rbind /dev root/dev
mount --rbind /sys root/sys
exec chroot root sh -c "cd /root/mountwarden && $4"
"""


def fresh_tree(suite: str) -> Path:
    """The tree, built at the first use (about 20 s), kept in the cache of the test host's trees."""
    place = tree.cache() / "trees" / f"fresh-{suite}-{RECIPE}"
    if not place.is_dir():
        aside = place.with_name(f".{place.name}.build-{os.getpid()}")
        command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", "--include=git,make", suite, str(aside)]
        aside.parent.mkdir(parents=True, exist_ok=True)
        try:
            subprocess.run([*command, *mirror.lines(suite)], check=True, stdin=subprocess.DEVNULL, capture_output=True)
            aside.rename(place)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return place


def run(suite: str, source: Path, place: Path, script: str, timeout: float) -> subprocess.CompletedProcess[str]:
    """Run a shell script as root of a fresh machine, in a copy of `source`. `place` is an empty directory for it."""
    pip = {
        key: value for key, value in os.environ.items() if key in {"PIP_CERT", "PIP_INDEX_URL", "PIP_DEFAULT_TIMEOUT"}
    }
    clean = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "PIP_CERT": ""}
    words: Sequence[str] = [str(place), str(fresh_tree(suite)), str(source), script]
    return subprocess.run(
        [
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--propagation",
            "private",
            "sh",
            "-c",
            _ENTER,
            "sh",
            *words,
        ],
        env=clean | pip,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
