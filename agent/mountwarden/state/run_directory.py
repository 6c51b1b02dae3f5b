"""The service's files in /run/mountwarden: replaced as a whole, and gone after a boot.

A reader sees the old text or the new one, whenever the writer is killed. /run is in memory: nothing is synced.
"""

import contextlib
import grp
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from ..errors import MountwardenError
from ..files import TooLarge, read_regular, replace_file

RUN = Path("/run/mountwarden")
READERS = "systemd-journal"
"""Group that may read what the service reports: whoever may read the journal can read the same there."""

OWN = 0o600
SHARED = 0o640
LARGEST = 16 << 20
"""Bytes of the largest state file that is read."""
_BY_PATH = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """The directory and the names in it."""

    path: Path = RUN
    shown: Path | None = None
    """What messages call it; None: as its path is."""

    def name(self, path: Path) -> Path:
        """What messages call one of its files, or itself."""
        return self.shown / path.relative_to(self.path) if self.shown and path.is_relative_to(self.path) else path

    @property
    def budget(self) -> Path:
        """What scans have cost and time has not paid for yet; only root may read it."""
        return self.path / "budget.json"

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


def make_directory(path: Path) -> None:
    """Make a directory that others may enter, where it is missing.

    mkdir(2) leaves out what the umask has, and the unit's has all of others. Raises: OSError.
    """
    with contextlib.suppress(FileExistsError):
        path.mkdir()
        path.chmod(0o755)


def held(run: RunDirectory) -> RunDirectory:
    """The same directory by a descriptor that stays open: what is mounted over its path later does not hide it.

    Raises: OSError.
    """
    make_directory(run.path)
    return RunDirectory(Path(f"/proc/self/fd/{os.open(run.path, _BY_PATH)}"), run.path)


def is_held(run: RunDirectory) -> bool:
    """Whether the path of a directory that is `held` still leads to it. One that was removed is made again.

    Raises: OSError.
    """
    assert run.shown is not None
    fd = int(run.path.name)
    if os.fstat(fd).st_nlink == 0:
        make_directory(run.shown)
        new = os.open(run.shown, _BY_PATH)
        os.dup2(new, fd, inheritable=False)
        os.close(new)
    there = _mount(run.shown)
    same = _mount_of(fd) == there or _shows(there, run.shown.name)
    return same and os.path.samestat(os.fstat(fd), os.stat(run.shown))


def require_uncovered(run: RunDirectory) -> None:
    """For commands: what is mounted over the directory hides the service's files, its socket and its lock.

    Raises: MountwardenError where something is.
    """
    if is_covered(run):
        text = f"something is mounted over {run.path}, so the service can't be reached"
        raise MountwardenError(text, hint=f"umount {run.path}")


def is_covered(run: RunDirectory) -> bool:
    """Whether something else is mounted over the directory. No file system is asked, as it may hang.

    In a container it may be a bind mount of the directory itself, which shows what it has.
    """
    try:
        there = _mount(run.path)
        return there != _mount(run.path.parent) and not _shows(there, run.path.name)
    except OSError:
        return False


def _shows(mount: str, name: str) -> bool:
    """Whether a mount, by its id, has a directory of that name as its root (proc_pid_mountinfo(5)). Raises: OSError."""
    with open("/proc/self/mountinfo", "rb") as file:
        rows = (line.split(b" ", 4) for line in file)
        return any(row[0] == mount.encode() and os.path.basename(row[3]) == os.fsencode(name) for row in rows)


def _mount(path: Path) -> str:
    """Raises: OSError."""
    fd = os.open(path, _BY_PATH)
    try:
        return _mount_of(fd)
    finally:
        os.close(fd)


def _mount_of(fd: int) -> str:
    """The mount's small id (proc_pid_fdinfo(5))."""
    lines = Path(f"/proc/self/fdinfo/{fd}").read_text(encoding="ascii").splitlines()
    return next(line.split()[1] for line in lines if line.startswith("mnt_id:"))


def write(path: Path, data: bytes, mode: int = SHARED) -> None:
    """Replace a file, with `mode`; one that others may read belongs to the journal's group where the host has it.

    `mode` is that of chmod(2). The directory is made where it is missing.

    Raises: TooLarge where no reader would take it; OSError.
    """
    if len(data) > LARGEST:
        raise TooLarge(f"more than {LARGEST >> 20} MiB would not be read again")
    make_directory(path.parent)
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
