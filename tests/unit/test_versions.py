"""One version everywhere, and packages that are built with what they say they need."""

import re
import tomllib
from pathlib import Path

from mountwarden import __version__

PROJECT = Path(__file__).resolve().parents[2]
PACKAGING = PROJECT / "packaging"


def _first(pattern: str, file: Path) -> str:
    found = re.search(pattern, file.read_text(), re.MULTILINE)
    assert found, f"{file}: no {pattern}"
    return found[1]


def _names(list_of_packages: str) -> set[str]:
    lines = (PACKAGING / "lock" / list_of_packages).read_text().splitlines()
    return {name for line in lines if (name := line.partition("#")[0].strip())}


def _field(name: str) -> set[str]:
    """The packages of a field of the source's paragraph in debian/control."""
    text = _first(rf"^{name}:\n((?: .*\n)+)", PACKAGING / "debian/control")
    return {line.split()[0].rstrip(",") for line in text.splitlines()}


def test_all_files_name_one_version() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "mountwarden.__version__"}
    assert {
        "CHANGELOG.md": _first(r"^## ([^ ,]+)", PROJECT / "CHANGELOG.md"),
        "debian/changelog": _first(r"\Amountwarden \((\S+)\)", PACKAGING / "debian/changelog"),
        "spec": _first(r"^Version: (\S+)$", PACKAGING / "mountwarden.spec"),
        "spec's changelog": _first(r"^%changelog\n\* .* - (\S+)-\d+$", PACKAGING / "mountwarden.spec"),
    } == dict.fromkeys(["CHANGELOG.md", "debian/changelog", "spec", "spec's changelog"], __version__)


def test_the_spec_bundles_the_locked_inotify_simple() -> None:
    locked = _first(r"\Ainotify-simple==(\S+)", PACKAGING / "lock/runtime.txt")
    spec = PACKAGING / "mountwarden.spec"
    assert _first(r"^Source1: inotify_simple-(\S+)-py3-none-any\.whl$", spec) == locked
    assert _first(r"^Provides: bundled\(python3dist\(inotify-simple\)\) = (\S+)$", spec) == locked
    assert len(re.findall(r"^\S+==", (PACKAGING / "lock/runtime.txt").read_text(), re.MULTILINE)) == 1


def test_make_deb_installs_what_the_build_depends_on() -> None:
    needed = {name.replace("debhelper-compat", "debhelper") for name in _field("Build-Depends")}
    assert needed
    assert needed | {"build-essential", "lintian"} == _names("apt-deb.txt")


def test_make_rpm_installs_what_the_build_requires() -> None:
    needed = set(re.findall(r"^BuildRequires: (\S+)", (PACKAGING / "mountwarden.spec").read_text(), re.MULTILINE))
    assert needed - {"python3"} <= _names("apt-rpm.txt")


def test_the_packages_have_the_same_configuration_and_it_sets_nothing() -> None:
    assert tomllib.loads((PACKAGING / "etc/mountwarden.toml").read_text()) == {}
    assert "packaging/etc/mountwarden.toml etc/mountwarden\n" in (PACKAGING / "debian/mountwarden.install").read_text()
