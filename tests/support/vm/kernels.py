"""The kernels that are tried: which package has each, and its image and modules in the cache.

A kernel that was unpacked once is run offline from then on, even when the mirror has a newer one; remove its directory
to have that.
"""

import json
import shutil
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.support.vm.apt import Suite, Unavailable, cache
from tests.support.vm.modules import Modules

MODULES = ("overlay", "fuse", "loop", "ext4")
RECIPE = "1"
"""Raise it when what is kept of a package changes."""
_SMALL = 1_000_000


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel by the name that `make kernels` knows it by.

    `sources` are suites with a pattern of packages each, of which the newest is taken: the first that this machine's
    apt can have.
    """

    name: str
    sources: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A kernel in the cache: its directory has `image` and, in `modules`' order, NAME.ko."""

    directory: Path
    release: str
    version: str
    modules: tuple[str, ...]

    @property
    def image(self) -> Path:
        """The bzImage."""
        return self.directory / "image"


def _cloud(name: str, *sources: tuple[str, str]) -> Kernel:
    """Of the flavour for virtual machines, a third of the others' size."""
    return Kernel(name, tuple((suite, rf"linux-image-{package}-cloud-amd64") for suite, package in sources))


KERNELS = (
    _cloud("5.10.218", ("bullseye", r"5\.10\.0-30")),
    _cloud("5.10", ("bullseye-security", r"5\.10\.0-\d+")),
    _cloud("6.1", ("bookworm-security", r"6\.1\.0-\d+"), ("bookworm", r"6\.1\.0-\d+")),
    _cloud("6.12", ("bookworm-security", r"6\.12\.\d+\+deb12"), ("trixie", r"6\.12\.\d+\+deb13")),
    _cloud("6.16", ("trixie-backports", r"6\.16\.\d+\+deb13")),
    _cloud("7.3", ("trixie-backports", r"7\.3\.\d+\+deb13")),
)
"""One for each set of interfaces that matters here."""
SHORT = ("5.10.218", "6.1", "7.3")


def named(name: str) -> Kernel:
    """The kernel of that name. Raises: Unavailable."""
    for kernel in KERNELS:
        if kernel.name == name:
            return kernel
    raise Unavailable(f"there is no kernel {name} here, but {', '.join(kernel.name for kernel in KERNELS)}")


def unpack(kernel: Kernel) -> Unpacked:
    """The kernel in the cache, fetched first if it is not there. Raises: Unavailable."""
    place = cache() / "kernels" / f"{kernel.name}-{RECIPE}"
    if not (place / "facts.json").exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".unpack-", dir=place.parent) as aside:
            _fetch(kernel, Path(aside))
            made = _keep(Path(aside))
            shutil.rmtree(place, ignore_errors=True)
            made.rename(place)
    facts = json.loads((place / "facts.json").read_text())
    return Unpacked(place, facts["release"], facts["version"], tuple(facts["modules"]))


def _fetch(kernel: Kernel, aside: Path) -> None:
    suite, newest = _newest(kernel)
    # From 6.19 on linux-image is empty, and what it held is in two other packages.
    parts = [newest]
    if suite.size(newest) < _SMALL:
        parts = [newest.replace("linux-image", part) for part in ("linux-binary", "linux-modules")]
    for part in parts:
        (aside / part).mkdir()
        file = suite.fetch(part, aside / part)
        subprocess.run(["dpkg-deb", "-x", file, aside / "root"], check=True, stdin=subprocess.DEVNULL)
    (aside / "version").write_text(suite.version(parts[0]))


def _newest(kernel: Kernel) -> tuple[Suite, str]:
    """The first of its sources that can be had. Raises: Unavailable, for the first of them."""
    problems = []
    for name, pattern in kernel.sources:
        try:
            suite = Suite(name)
            return suite, suite.newest(pattern)
        except Unavailable as error:
            problems.append(error)
    raise problems[0]


def _keep(aside: Path) -> Path:
    """A directory with what is needed of the packages, some 15 MB of up to 200."""
    found = _modules_directory(aside / "root")
    kept = aside / "kept"
    kept.mkdir()
    _image(aside / "root", found).rename(kept / "image")
    order = Modules(found).load_order(MODULES)
    for name, data in order.items():
        (kept / f"{name}.ko").write_bytes(data)
    facts = Unpacked(kept, found.name, (aside / "version").read_text(), tuple(order))
    (kept / "facts.json").write_text(json.dumps(asdict(facts) | {"directory": None}))
    return kept


def _modules_directory(root: Path) -> Path:
    for top in ("lib/modules", "usr/lib/modules"):
        if (root / top).is_dir() and (found := sorted((root / top).iterdir())):
            return found[0]
    raise Unavailable("the package has no modules")


def _image(root: Path, modules: Path) -> Path:
    for place in (root / f"boot/vmlinuz-{modules.name}", modules / "vmlinuz"):  # the second from 7.x on
        if place.exists():
            return place
    raise Unavailable("the package has no kernel image")
