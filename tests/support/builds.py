"""The packages of this checkout, made by its own scripts and read without being installed."""

import hashlib
import io
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

from tests.support import checkout

_LEFT_OUT = {"NO_APT", "DIST", "PREFIX", "DESTDIR", "MAKEFLAGS", "SOURCE_DATE_EPOCH"}


def obstacle() -> str | None:
    """Why no package can be made here, in one sentence; None where one can. What is missing is installed with apt."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return "making a package needs root and apt"
    return None


def make(kind: str, source: Path, dist: Path, *, umask: int = 0o022) -> subprocess.CompletedProcess[str]:
    """Run packaging/KIND (deb, rpm or dist) of a checkout; the packages go to `dist`."""
    clean = {key: value for key, value in os.environ.items() if key not in _LEFT_OUT} | {"DIST": str(dist)}
    return subprocess.run(
        [source / "packaging" / kind],
        env=clean,
        umask=umask,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


class Builds:
    """Each package once, when it is first asked for."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def deb(self) -> Path:
        """The .deb."""
        return self._made("deb", "*.deb")

    def rpm(self) -> Path:
        """The .rpm."""
        return self._made("rpm", "*.rpm")

    def wheel(self) -> Path:
        """The wheel."""
        return self._made("dist", "*.whl")

    def archive(self) -> Path:
        """The source archive."""
        return self._made("dist", "*.tar.gz")

    def newer(self, kind: str = "deb") -> Path:
        """A .deb (or .rpm) of the next version, with the same content."""
        place = self._place / f"newer-{kind}"
        if not place.exists():
            source = self._place / "newer-source"
            if not source.exists():
                raise_version(checkout.copy(source), NEWER)
            _check(make(kind, source, place))
        return next(place.glob(f"*.{kind}"))

    def _made(self, kind: str, pattern: str) -> Path:
        place = self._place / kind
        if not place.exists():
            _check(make(kind, checkout.ROOT, place))
        return next(place.glob(pattern))


NEWER = "99.1"


def raise_version(source: Path, version: str) -> None:
    """Give a copy of the checkout another version, as a release does."""
    module = source / "agent/mountwarden/__init__.py"
    module.write_text(re.sub(r'__version__ = ".*"', f'__version__ = "{version}"', module.read_text()))
    changelog = source / "packaging/debian/changelog"
    entry = re.sub(r"\A(\S+) \(.*?\)", rf"\1 ({version})", changelog.read_text())
    changelog.write_text(f"{entry}\n{changelog.read_text()}")
    specification = source / "packaging/mountwarden.spec"
    specification.write_text(re.sub(r"(?m)^Version: .*", f"Version: {version}", specification.read_text()))


def _check(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stdout + done.stderr


def deb_files(package: Path) -> dict[str, tarfile.TarInfo]:
    """Path to entry of what a .deb installs, without directories."""
    return {f"/{entry.name.removeprefix('./')}": entry for entry, _data in _deb_entries(package)}


def deb_digests(package: Path) -> dict[str, str]:
    """Path to sha256 of what a .deb installs."""
    return {
        f"/{entry.name.removeprefix('./')}": hashlib.sha256(data).hexdigest() for entry, data in _deb_entries(package)
    }


def _deb_entries(package: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    data = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], check=True, capture_output=True).stdout
    found = []
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for entry in tar:
            file = tar.extractfile(entry) if entry.isfile() else None
            if not entry.isdir():
                found.append((entry, file.read() if file else b""))
    return found


def rpm_digests(package: Path) -> dict[str, str]:
    """Path to sha256 of what an .rpm installs, without directories."""
    form = "[%{FILENAMES}\\t%{FILEDIGESTS}\\n]"
    text = subprocess.run(
        ["rpm", "-qp", "--nosignature", "--qf", form, package], check=True, capture_output=True, text=True
    ).stdout
    pairs = (line.split("\t") for line in text.splitlines())
    return {path: digest for path, digest in pairs if digest}
