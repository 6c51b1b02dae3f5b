"""Packages of any Debian suite, with lists of their own in the cache: nothing of this machine's apt is changed."""

import re
import shutil
import subprocess
import time
from pathlib import Path

from tests.support import mirror, tree

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_OLD = 86400
"""Seconds after which lists are fetched again: a mirror drops what was replaced."""


class Unavailable(Exception):
    """What is wanted can't be had on this machine; the text says why, without an address."""


def cache() -> Path:
    """Where everything of the VMs is kept."""
    return tree.cache() / "vm"


class Suite:
    """One suite of Debian on the mirror that this machine uses."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.place = cache() / "apt" / name

    def newest(self, pattern: str) -> str:
        """The package whose whole name matches, with the highest numbers in it. Raises: Unavailable."""
        self._refresh()
        prefix = re.match(r"[a-z-]*", pattern)
        names = self._output("apt-cache", "pkgnames", prefix.group() if prefix else "").split()
        matching = [name for name in names if re.fullmatch(pattern, name)]
        if not matching:
            raise Unavailable(f"{self.name} has no package {pattern}")
        return max(matching, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])

    def version(self, package: str) -> str:
        """The version that `fetch` would fetch."""
        return self._field(package, "Version")

    def size(self, package: str) -> int:
        """Bytes of the package's file."""
        return int(self._field(package, "Size"))

    def fetch(self, package: str, into: Path) -> Path:
        """Download the package's file into a directory that is empty. Raises: Unavailable."""
        self._output("apt-get", "download", package, cwd=into)
        (file,) = into.glob("*.deb")
        return file

    def _field(self, package: str, name: str) -> str:
        text = self._output("apt-cache", "--no-all-versions", "show", package)
        found = re.search(rf"^{name}: (.*)$", text, re.MULTILINE)
        if not found:
            raise Unavailable(f"{self.name} tells no {name} of {package}")
        return found.group(1)

    def _refresh(self) -> None:
        """Fetch the lists if there are none of today."""
        stamp = self.place / "fetched"
        if stamp.exists() and time.time() - stamp.stat().st_mtime < _OLD:
            return
        self._prepare()
        self._output("apt-get", "update")
        stamp.touch()

    def _prepare(self) -> None:
        if not shutil.which("apt-get"):
            raise Unavailable("the kernels are Debian's packages, and this machine has no apt")
        lines = mirror.lines(self.name)
        if not lines:
            raise Unavailable(f"apt is configured with no Debian mirror that could have {self.name}")
        (self.place / "lists/partial").mkdir(parents=True, exist_ok=True)
        (self.place / "archives/partial").mkdir(parents=True, exist_ok=True)
        (self.place / "status").touch()
        signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
        (self.place / "sources.list").write_text(lines[0].replace("deb ", f"deb {signed}", 1) + "\n")

    def _output(self, *command: str, cwd: Path | None = None) -> str:
        words = [command[0], "-qq", *self._options(), *command[1:]]
        done = subprocess.run(words, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise Unavailable(f"{' '.join(command)} failed for {self.name} ({done.returncode})")
        return done.stdout

    def _options(self) -> list[str]:
        options = {
            "Dir::Etc::sourcelist": self.place / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Dir::State::lists": self.place / "lists",
            "Dir::State::status": self.place / "status",
            "Dir::Cache": self.place,
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Acquire::Check-Valid-Until": "false",  # suites that are no longer updated are wanted too
        }
        return [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
