"""`make install` and `make uninstall` below a DESTDIR: which files, and that no others are touched."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support import checkout

pytestmark = pytest.mark.timeout(180)

LIB = "/usr/local/lib/mountwarden"
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


def _manifest(root: Path, lib: str = LIB) -> set[str]:
    return {line for line in Path(f"{root}{lib}/manifest").read_text().splitlines() if not line.endswith("/")}


def test_the_manifest_lists_every_file(source: Path, tmp_path: Path) -> None:
    _install(source, tmp_path)
    files = _files(tmp_path)
    assert files == _manifest(tmp_path)
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


def test_nothing_installed_names_the_build(source: Path, tmp_path: Path) -> None:
    destination = tmp_path / "somewhere-of-its-own"
    destination.mkdir()
    _install(source, destination)
    for name in _files(destination):
        content = Path(f"{destination}{name}").read_bytes()
        assert b"somewhere-of-its-own" not in content, name
        assert str(source).encode() not in content, name
        assert f"/stage{LIB}".encode() not in content, f"{name} names the place where it was put together"


def test_directories_that_were_there_keep_their_mode(source: Path, tmp_path: Path) -> None:
    there = tmp_path / "usr/local/bin"
    there.mkdir(parents=True)
    there.chmod(0o750)
    _install(source, tmp_path)
    assert there.stat().st_mode & 0o7777 == 0o750


@pytest.mark.parametrize("prefix", ["/usr", "/opt/a place"])
def test_prefix_reaches_launcher_and_units(source: Path, tmp_path: Path, prefix: str) -> None:
    _install(source, tmp_path, f"PREFIX={prefix}")
    launcher = Path(f"{tmp_path}{prefix}/bin/mountwarden")
    assert launcher.read_text().splitlines()[0] == "#!/usr/bin/python3 -I"
    assert f'"{prefix}/lib/mountwarden"' in launcher.read_text()
    assert os.access(launcher, os.X_OK)
    systemd = "/usr/lib/systemd" if prefix == "/usr" else "/usr/local/lib/systemd"
    assert f"ExecStart={prefix}/bin/mountwarden agent" in Path(f"{tmp_path}{systemd}/system/sample.service").read_text()


def test_a_second_installation_removes_what_is_outdated(source: Path, tmp_path: Path) -> None:
    module = source / "agent/mountwarden/outdated.py"
    module.write_text("")
    try:
        _install(source, tmp_path)
    finally:
        module.unlink()
    installed = Path(f"{tmp_path}{LIB}/mountwarden/outdated.py")
    assert installed.exists()
    _install(source, tmp_path)
    assert not installed.exists()
    assert _files(tmp_path) == _manifest(tmp_path)
    _uninstall(source, tmp_path)
    assert _files(tmp_path) == set()


def test_uninstall_leaves_what_is_not_ours(source: Path, tmp_path: Path) -> None:
    kept = ["/usr/local/bin/other", f"{LIB}/mountwarden/notes.txt", "/etc/mountwarden/mountwarden.toml"]
    for name in kept:
        Path(f"{tmp_path}{name}").parent.mkdir(parents=True, exist_ok=True)
        Path(f"{tmp_path}{name}").write_text("mine\n")
    _install(source, tmp_path)
    said = _uninstall(source, tmp_path)
    assert _files(tmp_path) == set(kept)
    assert f"{tmp_path}/etc/mountwarden is kept" in said


def test_uninstall_removes_its_directories_and_foreign_byte_code(source: Path, tmp_path: Path) -> None:
    (tmp_path / "usr/local/bin").mkdir(parents=True)
    _install(source, tmp_path)
    Path(f"{tmp_path}{LIB}/mountwarden/__pycache__/model.cpython-399.pyc").write_bytes(b"")
    _uninstall(source, tmp_path)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} == {"usr", "usr/local", "usr/local/bin"}


def test_purge_removes_the_configuration(source: Path, tmp_path: Path) -> None:
    (tmp_path / "etc/mountwarden").mkdir(parents=True)
    (tmp_path / "etc/mountwarden/mountwarden.toml").write_text("")
    _uninstall(source, tmp_path, "PURGE=1")
    assert (tmp_path / "etc").is_dir()
    assert not (tmp_path / "etc/mountwarden").exists()


def test_a_damaged_manifest_removes_nothing(source: Path, tmp_path: Path) -> None:
    _install(source, tmp_path)
    manifest = Path(f"{tmp_path}{LIB}/manifest")
    manifest.write_text(manifest.read_text() + "/usr/../../etc/passwd\n")
    before = _files(tmp_path)
    assert _make(source, "uninstall", f"DESTDIR={tmp_path}").returncode != 0
    assert _files(tmp_path) == before


def test_a_relative_prefix_is_refused(source: Path, tmp_path: Path) -> None:
    done = _make(source, "install", f"DESTDIR={tmp_path}", "PREFIX=usr")
    assert done.returncode != 0
    assert "PREFIX has to be an absolute path" in done.stderr
    assert _files(tmp_path) == set()


def test_the_checkout_stays_clean(source: Path, tmp_path: Path) -> None:
    before = {name for name in _files(source) if "/.venv/" not in name}
    _install(source, tmp_path)
    assert {name for name in _files(source) if "/.venv/" not in name} == before
