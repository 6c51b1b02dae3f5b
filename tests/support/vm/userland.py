"""Two small Debian trees: the guest's userland, packed once as an initramfs, and the tree that has QEMU.

Nothing of this machine's userland is in either, and nothing is installed on it.
"""

import fnmatch
import hashlib
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.support import mirror, tree
from tests.support.vm.apt import Unavailable, cache
from tests.support.vm.cpio import Archive

RECIPE = "1"


@dataclass(frozen=True, slots=True)
class Userland:
    """A tree of packages that are unpacked and not configured: no more is needed."""

    name: str
    suite: str
    packages: tuple[str, ...]

    @property
    def place(self) -> Path:
        """Where the tree is, or will be."""
        text = "\n".join((RECIPE, self.suite, *self.packages))
        return cache() / f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


GUEST = Userland("guest", "trixie", (
    "python3", "python3-sdnotify", "python3-pytest", "python3-pytest-timeout", "python3-hypothesis", "busybox-static",
    "util-linux", "mount", "coreutils", "bash", "dash", "libc-bin", "e2fsprogs", "fuse3", "procps",
))  # fmt: skip
QEMU = Userland("qemu", "bookworm", ("qemu-system-x86", "dash", "coreutils"))

_SKIPPED = (
    "usr/share/*", "var/cache/*", "var/lib/*", "var/log/*", "boot", "usr/include", "usr/games",
    "usr/lib/*/gconv", "usr/lib/*/perl*", "usr/lib/*/perl-base", "usr/bin/perl*", "usr/lib/locale", "usr/lib/systemd",
    "usr/lib/python3*/test", "usr/lib/python3*/ensurepip", "usr/lib/python3*/pydoc_data", "usr/lib/python3*/idlelib",
    "usr/lib/valgrind", "usr/lib/apt", "*.opt-[12].pyc",
)  # fmt: skip
_KEPT = ("usr/share/python3",)
_DIRECTORIES = ("proc", "sys", "dev", "tmp", "run", "mnt", "srv", "src", "var/tmp", "vm/root", "root")


def build(wanted: Userland) -> Path:
    """The tree, made first if it is not there. Raises: Unavailable."""
    if wanted.place.is_dir():
        return wanted.place
    cache().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{wanted.name}-", dir=cache()) as aside:
        root = Path(aside, "root")
        command = [*tree.APART, "mmdebstrap", "--quiet", "--mode=root", "--variant=extract"]
        command += ['--aptopt=Acquire::Languages "none"', "--include=" + ",".join(wanted.packages)]
        command += [wanted.suite, str(root), *mirror.lines(wanted.suite)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise Unavailable(f"mmdebstrap could not make the tree {wanted.name} of {wanted.suite} ({done.returncode})")
        for name in _DIRECTORIES:
            (root / name).mkdir(parents=True, exist_ok=True)
        root.rename(wanted.place)
    return wanted.place


def initramfs() -> Path:
    """The guest's userland as an uncompressed archive, some 80 MB, made once. Raises: Unavailable."""
    image = GUEST.place.with_suffix(".cpio")
    if image.exists():
        return image
    root = build(GUEST)
    _compile(root)
    with tempfile.NamedTemporaryFile(prefix=".pack-", dir=cache(), delete=False) as file:
        archive = Archive(file)
        archive.tree(root, skipped=_skipped)
        archive.device("dev/console", 0o600, 5, 1)
        archive.device("dev/null", 0o666, 1, 3)
        archive.close()
    Path(file.name).rename(image)
    return image


def _skipped(path: str) -> bool:
    if any(kept == path or kept.startswith(f"{path}/") or path.startswith(f"{kept}/") for kept in _KEPT):
        return False
    return any(fnmatch.fnmatch(path, pattern) for pattern in _SKIPPED)


def _compile(root: Path) -> None:
    """Byte code once, here: an emulated processor would take seconds for it at each boot."""
    inside = ["chroot", str(root), "/usr/bin/python3", "-m", "compileall", "-q", "/usr/lib"]
    subprocess.run([*tree.APART, *inside], stdin=subprocess.DEVNULL, capture_output=True)
