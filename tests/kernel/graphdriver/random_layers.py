"""Random changes to a layer: what processes in a container do to its tree, and what may stand in an upper directory."""

import contextlib
import os
import random
import shutil
import stat
from pathlib import Path

NAMES = "abcd"
TIMES = (10**18, 10**18 + 1, 10**18 + 5 * 10**8, 3 * 10**18)  # two of them the same second
OPAQUE = "trusted.overlay.opaque"


class RandomChanges:
    """Changes to the tree at `root`. What the file system refuses (a name is missing, is no directory) is no step."""

    def __init__(self, root: Path, choose: random.Random) -> None:
        self._root = root
        self._choose = choose

    def run(self, steps: int) -> None:
        """Steps as a process in the container takes them."""
        for _ in range(steps):
            self._step((*_ATTRIBUTES, *_TREE))

    def run_in_upper(self, steps: int) -> None:
        """Steps in an upper directory that was never in use: also what only overlayfs itself makes there.

        Later they could leave one file of the lower tree in two places, which overlayfs answers with ESTALE.
        """
        for _ in range(steps):
            self._step(_IN_UPPER)

    def _step(self, kinds: tuple[str, ...]) -> None:
        with contextlib.suppress(OSError):
            getattr(self, f"_{self._choose.choice(kinds)}")(self._path())

    def _path(self) -> Path:
        """One of three levels, more often of what is there than not."""
        path = self._root
        for _ in range(self._choose.choice((1, 1, 2, 2, 3))):
            if path.is_symlink():
                break
            there = sorted(os.listdir(path)) if path.is_dir() else ()
            path /= self._choose.choice(there if there and self._choose.random() < 0.7 else NAMES)
        return path

    def _write(self, path: Path) -> None:
        if self._is_file(path) or not os.path.lexists(path):
            path.write_bytes(b"x" * self._choose.choice((0, 1, 1, 700)))
            self._utime(path)

    @staticmethod
    def _is_file(path: Path) -> bool:
        return path.is_file() and not path.is_symlink()

    def _touch(self, path: Path) -> None:
        """Copied up, and nothing else."""
        os.close(os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK))

    def _utime(self, path: Path) -> None:
        os.utime(path, ns=(0, self._choose.choice(TIMES)), follow_symlinks=False)

    def _chmod(self, path: Path) -> None:
        if not path.is_symlink():
            path.chmod(self._choose.choice((0o600, 0o755, 0o4711, 0o000)))

    def _chown(self, path: Path) -> None:
        os.lchown(path, self._choose.choice((0, 5)), self._choose.choice((0, 7)))

    def _xattr(self, path: Path) -> None:
        name = self._choose.choice(("user.a", "trusted.a", "security.b"))
        if self._choose.random() < 0.7:
            os.setxattr(path, name, self._choose.choice((b"", b"1", b"2")), follow_symlinks=False)
        else:
            os.removexattr(path, name, follow_symlinks=False)

    def _mkdir(self, path: Path) -> None:
        path.mkdir()

    def _tree(self, path: Path) -> None:
        (path / self._choose.choice(NAMES)).mkdir(parents=True)
        (path / self._choose.choice(NAMES) / self._choose.choice(NAMES)).write_bytes(b"deep")

    def _remove(self, path: Path) -> None:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

    def _replace(self, path: Path) -> None:
        """Remove it and make something else of that name: a directory that is made so is opaque."""
        self._remove(path)
        getattr(self, self._choose.choice(("_mkdir", "_tree", "_write", "_symlink", "_mknod")))(path)

    def _rename(self, path: Path) -> None:
        path.rename(self._path())

    def _move(self, path: Path) -> None:
        """Rename a directory: it is redirected, or refused where that is off."""
        (path if path.is_dir() else path.parent).rename(self._root / self._choose.choice("abef"))

    def _link(self, path: Path) -> None:
        os.link(path, self._path(), follow_symlinks=False)

    def _symlink(self, path: Path) -> None:
        path.symlink_to(self._choose.choice((*NAMES, "../a", "/", "none")))
        self._utime(path)

    def _mknod(self, path: Path) -> None:
        kind, device = self._choose.choice(((stat.S_IFIFO, 0), (stat.S_IFCHR, os.makedev(1, 3)), (stat.S_IFBLK, 1)))
        os.mknod(path, kind | 0o640, device)
        self._utime(path)

    def _whiteout(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._remove(path)
        os.mknod(path, stat.S_IFCHR, 0)

    def _xattr_whiteout(self, path: Path) -> None:
        """As of Linux 6.7; before, it is a file."""
        with contextlib.suppress(FileNotFoundError):
            self._remove(path)
        path.touch()
        os.setxattr(path, "trusted.overlay.whiteout", b"y")
        os.setxattr(path.parent, OPAQUE, b"x")

    def _opaque(self, path: Path) -> None:
        path.mkdir(exist_ok=True)
        os.setxattr(path, OPAQUE, b"y", follow_symlinks=False)


_ATTRIBUTES = ("touch", "utime", "chmod", "chown", "xattr")
_TREE = ("write", "mkdir", "tree", "remove", "replace", "rename", "move", "move", "link", "symlink", "mknod")
_IN_UPPER = (*_ATTRIBUTES, *_TREE, "whiteout", "xattr_whiteout", "opaque", "opaque")
