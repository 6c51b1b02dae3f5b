"""The service's files in /run/mountwarden: replaced as a whole, and gone after a boot.

A reader sees the old text or the new one, whenever the writer is killed. /run is in memory: nothing is synced.
"""

import grp
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from ..files import TooLarge, read_regular, replace_file

RUN = Path("/run/mountwarden")
READERS = "systemd-journal"
"""Group that may read what the service reports: whoever may read the journal can read the same there."""

OWN = 0o600
SHARED = 0o640
LARGEST = 16 << 20
"""Bytes of the largest state file that is read."""


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """The directory and the names in it."""

    path: Path = RUN

    @property
    def ledger(self) -> Path:
        """What the service remembers; only root may read it."""
        return self.path / "ledger.json"

    @property
    def history(self) -> Path:
        """What the service's scans saw of homes' mounts and their copies; only root may read it."""
        return self.path / "history.json"

    @property
    def lock(self) -> Path:
        """What the service locks while it runs, and a command while it acts; only root may open it."""
        return self.path / "lock"

    @property
    def config(self) -> Path:
        """The configuration that the service uses; only root may read it."""
        return self.path / "config.toml"

    @property
    def report(self) -> Path:
        """The last report."""
        return self.path / "report.json"

    @property
    def status(self) -> Path:
        """Mode, tier, cost, last actions."""
        return self.path / "status.json"

    @property
    def socket(self) -> Path:
        """Where the service answers calls of Varlink."""
        return self.path / "io.mountwarden"

    @property
    def pause(self) -> Path:
        """There while actions are paused."""
        return self.path / "pause.json"

    @property
    def silences(self) -> Path:
        """Silences by id."""
        return self.path / "silences.json"


def write(path: Path, data: bytes, mode: int = SHARED) -> None:
    """Replace a file, with `mode`; one that others may read belongs to the journal's group where the host has it.

    `mode` is that of chmod(2). The directory is made where it is missing.

    Raises: TooLarge where no reader would take it; OSError.
    """
    if len(data) > LARGEST:
        raise TooLarge(f"more than {LARGEST >> 20} MiB would not be read again")
    path.parent.mkdir(mode=0o755, exist_ok=True)
    replace_file(path, data, mode=mode, group=readers() if mode == SHARED else None)


def read(path: Path) -> bytes | None:
    """The content of a file; None where there is none.

    Raises: NotRegular; TooLarge; OSError.
    """
    try:
        return read_regular(path, LARGEST).data
    except FileNotFoundError:
        return None


def signature(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is replaced: inode, time of change in ns, size in bytes. None where there is no file.

    Raises: OSError.
    """
    try:
        facts = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return (facts.st_ino, facts.st_mtime_ns, facts.st_size) if stat.S_ISREG(facts.st_mode) else None


def sweep(directory: Path) -> None:
    """Remove what killed writers left. For the service's start: nobody else uses such names. Raises: OSError."""
    for pattern in (".*.json.*", ".*.toml.*"):
        for left in directory.glob(pattern):
            left.unlink(missing_ok=True)


def readers() -> int | None:
    """The journal group's id; None where the host has no such group."""
    try:
        return grp.getgrnam(READERS).gr_gid
    except KeyError:
        return None
