"""The packages as files: the same bytes each time, no complaint of lintian, and the same content in each of them."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support import builds as making
from tests.support import checkout
from tests.support.builds import Builds

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

OF_DEBIAN = {
    "/usr/share/doc/mountwarden/changelog": "its own changelog",
    "/usr/share/doc/mountwarden/copyright": "the licenses",
    "/usr/share/python3/runtime.d/mountwarden.rtupdate": "makes byte code anew for another Python",
}
OF_RPM = re.compile(r"/__pycache__/|^/usr/share/licenses/")
"""Byte code, which Debian makes at the installation; and the licenses."""
OF_INSTALL = re.compile(
    r"/__pycache__/|/manifest$|/doc/mountwarden/LICENSE$|\.dist-info/(licenses/)?(LICENSE|RECORD|INSTALLER)$"
)
"""`make install` has byte code, its manifest, the license among the documents, and pip's own notes."""
OF_PACKAGES = "/etc/mountwarden/mountwarden.toml"
"""`make install` writes nothing to /etc."""


def common(path: str) -> str:
    """A path of the .deb as the other distributions have it."""
    path = re.sub(r"^/lib/systemd/", "/usr/lib/systemd/", path)
    path = path.replace("/usr/share/zsh/vendor-completions/", "/usr/share/zsh/site-functions/")
    return path.removesuffix(".gz")


def test_the_same_bytes_again_elsewhere(builds: Builds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = builds.deb()
    for name, value in {"TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONHASHSEED": "7", "DEB_BUILD_OPTIONS": "noopt"}.items():
        monkeypatch.setenv(name, value)
    source = checkout.copy(tmp_path / "another" / "place")
    for path in source.rglob("*"):
        os.utime(path, (0, 0))
    done = making.make("deb", source, tmp_path / "dist", umask=0o077)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "dist" / first.name).read_bytes() == first.read_bytes()
    entries = making.deb_files(first)
    assert {entry.mtime for entry in entries.values()} == {1795514400}, "not the time of the changelog's entry"


def test_what_lintian_warns_of_is_a_failure(tmp_path: Path) -> None:
    if reason := making.obstacle():
        pytest.skip(reason)
    source = checkout.copy(tmp_path / "source")
    (source / "packaging/man/mountwarden.1").unlink()
    done = making.make("deb", source, tmp_path / "dist")
    assert done.returncode != 0
    assert "no-manual-page [usr/bin/mountwarden]" in done.stdout
    assert not (tmp_path / "dist").exists()


def test_what_it_needs_is_in_debian(builds: Builds) -> None:
    fields = ["Architecture", "Depends", "Recommends"]
    told = subprocess.run(["dpkg-deb", "-f", builds.deb(), *fields], check=True, capture_output=True, text=True).stdout
    assert told.splitlines() == [
        "Architecture: all",
        "Depends: python3-pystemd, python3-sdnotify, python3:any (>= 3.11~)",
        "Recommends: python3-h2, python3-rich",
    ]


def test_it_brings_no_environment_and_no_byte_code(builds: Builds) -> None:
    files = making.deb_files(builds.deb())
    assert {"/usr/bin/mountwarden", "/usr/lib/mountwarden/inotify_simple.py", "/etc/mountwarden/mountwarden.toml"} <= (
        files.keys()
    )
    assert [path for path in files if re.search(r"\.pyc$|venv|/site-packages/|/dist-packages/|\.egg-info", path)] == []
    assert {(entry.uname, entry.gname) for entry in files.values()} == {("root", "root")}
    assert {entry.mode for path, entry in files.items() if "/bin/" not in path and "rtupdate" not in path} == {0o644}


def test_debhelper_wrote_all_that_runs_at_an_installation(builds: Builds, tmp_path: Path) -> None:
    subprocess.run(["dpkg-deb", "-e", builds.deb(), tmp_path], check=True)
    assert {path.name for path in tmp_path.iterdir()} == {
        "control",
        "md5sums",
        "conffiles",
        "postinst",
        "prerm",
        "postrm",
    }
    for name in ("postinst", "prerm"):
        text = (tmp_path / name).read_text()
        own = re.sub(r"# Automatically added by .*?# End automatically added section\n", "", text, flags=re.DOTALL)
        assert own.split() == ["#!/bin/sh", "set", "-e"], name


def test_the_rpm_has_the_files_of_the_deb(builds: Builds) -> None:
    deb, rpm = making.deb_digests(builds.deb()), making.rpm_digests(builds.rpm())
    assert {common(path) for path in deb} - OF_DEBIAN.keys() == {path for path in rpm if not OF_RPM.search(path)}
    plain = [path for path in deb if not path.endswith(".gz") and common(path) in rpm]
    assert len(plain) > 100
    assert [path for path in plain if deb[path] != rpm[common(path)]] == []


def test_make_install_has_the_files_of_the_deb(builds: Builds, tmp_path: Path) -> None:
    clean = {key: value for key, value in os.environ.items() if key not in {"MAKEFLAGS", "PURGE"}}
    command = ["make", "-s", "-C", str(checkout.ROOT), "install", "PREFIX=/usr", f"DESTDIR={tmp_path}"]
    subprocess.run(command, check=True, env=clean, stdin=subprocess.DEVNULL, capture_output=True)
    installed = {f"/{path.relative_to(tmp_path)}" for path in tmp_path.rglob("*") if not path.is_dir()}
    deb = {common(path) for path in making.deb_files(builds.deb())} - OF_DEBIAN.keys() - {OF_PACKAGES}
    assert {path for path in installed if not OF_INSTALL.search(path)} == deb


def test_the_rpm_says_what_it_needs_and_what_it_bundles(builds: Builds) -> None:
    query = ["rpm", "-qp", "--nosignature", "--requires", "--provides", builds.rpm()]
    told = subprocess.run(query, check=True, capture_output=True, text=True).stdout.splitlines()
    assert {"python3-pystemd", "python3-sdnotify", "python3 >= 3.11"} <= set(told)
    bundled = (checkout.ROOT / "packaging/lock/runtime.txt").read_text().split()[0].replace("==", ")) = ")
    assert f"bundled(python3dist({bundled}" in told
