"""`make install` and `make uninstall` below a DESTDIR: which files, and that no others are touched."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import checkout

pytestmark = pytest.mark.timeout(180)

LIB = "/usr/local/lib/mountwarden"
PREFIX = {"usr", "usr/local"}
"""What is made for PREFIX itself stays."""

UNIT = "[Service]\nExecStart=/usr/bin/mountwarden agent\n"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of its own with one file of each kind that is installed."""
    copy = checkout.copy(tmp_path_factory.mktemp("install") / "source")
    for name, text in {
        "units/sample.service": UNIT,
        "packaging/catalog/sample.catalog": "-- 0123456789abcdef0123456789abcdef\nSubject: sample\n\ntext\n",
        "packaging/man/sample.1": ".TH SAMPLE 1\n",
        "packaging/completions/sample.bash": "complete\n",
        "packaging/completions/sample.zsh": "#compdef sample\n",
        "packaging/completions/sample.fish": "complete\n",
    }.items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text(text)
    return copy


def _make(source: Path, *words: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if key not in {"PREFIX", "DESTDIR", "PURGE", "MAKEFLAGS"}}
    return subprocess.run(
        ["make", "-s", "-C", str(source), *words], env=clean, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )


def _install(source: Path, destination: Path, *words: str) -> None:
    done = _make(source, "install", f"DESTDIR={destination}", *words)
    assert done.returncode == 0, done.stdout + done.stderr


def _uninstall(source: Path, destination: Path, *words: str) -> str:
    done = _make(source, "uninstall", f"DESTDIR={destination}", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _files(root: Path) -> set[str]:
    return {f"/{path.relative_to(root)}" for path in root.rglob("*") if not path.is_dir()}


def _below(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def _manifest(root: Path, lib: str = LIB) -> set[str]:
    return {line for line in Path(f"{root}{lib}/manifest").read_text().splitlines() if not line.endswith("/")}


@pytest.fixture(scope="module")
def installed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where an installation was made, which takes seconds; for tests that change nothing there, or a copy of it."""
    before = {name for name in _files(source) if "/.venv/" not in name}
    destination = tmp_path_factory.mktemp("somewhere-of-its-own")
    _install(source, destination)
    assert {name for name in _files(source) if "/.venv/" not in name} == before, "the checkout stays clean"
    return destination


@pytest.fixture
def copied(installed: Path, tmp_path: Path) -> Path:
    """The same installation once more."""
    return Path(shutil.copytree(installed, tmp_path / "copied", symlinks=True))


def test_the_manifest_lists_every_file(installed: Path) -> None:
    files = _files(installed)
    assert files == _manifest(installed)
    assert {
        "/usr/local/bin/mountwarden",
        f"{LIB}/mountwarden/__init__.py",
        f"{LIB}/inotify_simple.py",
        "/usr/local/lib/systemd/system/sample.service",
        "/usr/local/lib/systemd/catalog/sample.catalog",
        "/usr/local/share/man/man1/sample.1",
        "/usr/local/share/bash-completion/completions/sample",
        "/usr/local/share/zsh/site-functions/_sample",
        "/usr/local/share/fish/vendor_completions.d/sample.fish",
    } <= files
    assert any(name.endswith(".pyc") for name in files), "byte code is made at installation, not at the first run"
    assert not {name for name in files if name.startswith("/etc/")}


def test_nothing_installed_names_the_build(source: Path, installed: Path) -> None:
    for name in _files(installed):
        content = Path(f"{installed}{name}").read_bytes()
        assert b"somewhere-of-its-own" not in content, name
        assert str(source).encode() not in content, name
        assert f"/stage{LIB}".encode() not in content, f"{name} names the place where it was put together"


@pytest.mark.parametrize("prefix", [pytest.param("/usr", marks=pytest.mark.long), "/opt/a place"])
def test_prefix_reaches_launcher_and_units(source: Path, tmp_path: Path, prefix: str) -> None:
    _install(source, tmp_path, f"PREFIX={prefix}")
    launcher = Path(f"{tmp_path}{prefix}/bin/mountwarden")
    assert launcher.read_text().splitlines()[0] == "#!/usr/bin/python3 -I"
    assert f'"{prefix}/lib/mountwarden"' in launcher.read_text()
    assert os.access(launcher, os.X_OK)
    systemd = "/usr/lib/systemd" if prefix == "/usr" else "/usr/local/lib/systemd"
    assert f"ExecStart={prefix}/bin/mountwarden agent" in Path(f"{tmp_path}{systemd}/system/sample.service").read_text()


def test_a_second_installation_removes_what_is_outdated(source: Path, copied: Path) -> None:
    outdated = f"{LIB}/mountwarden/outdated.py"
    Path(f"{copied}{outdated}").write_text("")
    with Path(f"{copied}{LIB}/manifest").open("a") as manifest:
        manifest.write(f"{outdated}\n")
    _install(source, copied)
    assert not Path(f"{copied}{outdated}").exists()
    assert _files(copied) == _manifest(copied)
    _uninstall(source, copied)
    assert _below(copied) == PREFIX, "the directories that the first installation made are still ours"


def test_what_is_not_ours_keeps_its_content_and_mode_and_stays(source: Path, tmp_path: Path) -> None:
    kept = ["/usr/local/bin/other", f"{LIB}/mountwarden/notes.txt", "/etc/mountwarden/mountwarden.toml"]
    for name in kept:
        Path(f"{tmp_path}{name}").parent.mkdir(parents=True, exist_ok=True)
        Path(f"{tmp_path}{name}").write_text("mine\n")
    (tmp_path / "usr/local/bin").chmod(0o750)
    (tmp_path / "usr/local/share/man").mkdir(parents=True)
    _install(source, tmp_path)
    assert (tmp_path / "usr/local/bin").stat().st_mode & 0o7777 == 0o750
    said = _uninstall(source, tmp_path)
    assert _files(tmp_path) == set(kept)
    assert f"{tmp_path}/etc/mountwarden is kept" in said
    assert list((tmp_path / "usr/local/share").rglob("*")) == [tmp_path / "usr/local/share/man"]


def test_uninstall_removes_its_directories_and_foreign_byte_code(source: Path, copied: Path) -> None:
    Path(f"{copied}{LIB}/mountwarden/__pycache__/model.cpython-399.pyc").write_bytes(b"")
    _uninstall(source, copied)
    assert _below(copied) == PREFIX


def test_purge_removes_the_configuration(source: Path, tmp_path: Path) -> None:
    (tmp_path / "etc/mountwarden").mkdir(parents=True)
    (tmp_path / "etc/mountwarden/mountwarden.toml").write_text("")
    _uninstall(source, tmp_path, "PURGE=1")
    assert (tmp_path / "etc").is_dir()
    assert not (tmp_path / "etc/mountwarden").exists()


def test_a_damaged_manifest_removes_nothing(source: Path, copied: Path) -> None:
    manifest = Path(f"{copied}{LIB}/manifest")
    manifest.write_text(manifest.read_text() + "/usr/../../etc/passwd\n")
    before = _files(copied)
    assert _make(source, "uninstall", f"DESTDIR={copied}").returncode != 0
    assert _files(copied) == before


def test_a_relative_prefix_is_refused(source: Path, tmp_path: Path) -> None:
    done = _make(source, "install", f"DESTDIR={tmp_path}", "PREFIX=usr")
    assert done.returncode != 0
    assert "PREFIX has to be an absolute path" in done.stderr
    assert _files(tmp_path) == set()
