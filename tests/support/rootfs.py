"""The one container image of the tests: a static busybox, as an archive that every engine can import offline."""

import io
import subprocess
import tarfile
from pathlib import Path

RECIPE = "2"
"""Raise it when the archive's content changes."""

ARCHIVE = "/usr/share/test-host/bb.tar"
"""Where the archive is on the test host."""

_DIRECTORIES = ("bin", "dev", "etc", "proc", "sys", "tmp", "root", "run", "usr", "data", "mnt")
_FILES = {"etc/passwd": "root:x:0:0:root:/root:/bin/sh\n", "etc/group": "root:x:0:\n"}


def write_archive(root: Path) -> None:
    """Write `ARCHIVE` into the tree `root`, from the busybox-static installed there. The same bytes each time."""
    busybox = next(root / name for name in ("usr/bin/busybox", "bin/busybox") if (root / name).is_file())
    applets = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True).stdout.split()
    archive = root / ARCHIVE.lstrip("/")
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        for name in _DIRECTORIES:
            tar.addfile(_entry(name, tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755))
        for name, text in _FILES.items():
            _add_file(tar, name, text.encode(), 0o644)
        _add_file(tar, "bin/busybox", busybox.read_bytes(), 0o755)
        for name in sorted(set(applets) - {"busybox"}):
            link = _entry(f"bin/{name}", tarfile.SYMTYPE, 0o777)
            link.linkname = "busybox"
            tar.addfile(link)


def _entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = kind, mode
    return entry


def _add_file(tar: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    entry = _entry(name, tarfile.REGTYPE, mode)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))
