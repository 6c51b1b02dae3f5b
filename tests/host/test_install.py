"""`make install` and `make uninstall` on a booted host: what systemd and the journal make of them."""

import re

import pytest

from tests.support.machine import Machine
from tests.support.processless import MESSAGE, OFFLINE, SOURCE, UNIT, bare

__all__ = ["bare"]
pytestmark = pytest.mark.timeout(180)

ENABLED = "/etc/systemd/system/multi-user.target.wants/sample.service"


def _make(host: Machine, *words: str) -> str:
    return host.run("make", "-s", "-C", SOURCE, *words, env=OFFLINE, timeout=120).stdout


def _tree(host: Machine) -> set[str]:
    """All paths that an installation could touch."""
    return set(host.run("find", "/usr/local", "/etc/systemd", "/etc/mountwarden", check=False).stdout.splitlines())


@pytest.fixture(scope="module")
def installed(bare: Machine) -> Machine:
    """Each installation takes seconds: tests that only look at what it did share one, and come first."""
    _make(bare, "install")
    return bare


def test_install_makes_units_known_and_starts_none(installed: Machine) -> None:
    assert installed.show("sample.service", "LoadState") == "loaded"
    assert installed.show("sample.service", "ActiveState") == "inactive"
    assert installed.run("systemctl", "is-enabled", "sample.service", check=False).stdout.strip() == "disabled"


def test_install_makes_the_catalog_known(installed: Machine) -> None:
    assert "a sample happened" in installed.run("journalctl", "--list-catalog", MESSAGE).stdout


def test_the_service_python_sees_all_dependencies(installed: Machine) -> None:
    place = 'import sys; sys.path.insert(0, "/usr/local/lib/mountwarden"); '
    installed.run("/usr/bin/python3", "-I", "-c", f"{place}import mountwarden, inotify_simple, pystemd, sdnotify")


def test_install_over_a_running_unit_leaves_it_running_and_is_known(installed: Machine) -> None:
    bare = installed
    bare.run("systemctl", "start", "sample.service")
    pid = bare.main_pid("sample.service")
    bare.write(f"{SOURCE}/units/sample.service", f"[Unit]\nDescription=changed\n\n{UNIT}")
    _make(bare, "install")
    assert bare.main_pid("sample.service") == pid
    assert bare.show("sample.service", "Description") == "changed", "systemd was not told to read its units again"
    bare.run("systemctl", "stop", "sample.service")


def test_uninstall_ends_the_unit_keeps_the_configuration_and_purged_leaves_the_host_as_it_was(bare: Machine) -> None:
    _make(bare, "uninstall")
    before = _tree(bare)
    assert not any("mountwarden" in path for path in before)
    _make(bare, "install")
    bare.write("/etc/mountwarden/mountwarden.toml", 'mode = "observe"\n')
    bare.run("systemctl", "enable", "--now", "sample.service")
    pid = bare.main_pid("sample.service")
    assert pid
    assert ENABLED in _tree(bare)
    _make(bare, "uninstall")
    assert bare.run("test", "-d", f"/proc/{pid}", check=False).returncode == 1, "the unit's process still runs"
    assert bare.show("sample.service", "LoadState") == "not-found", "systemd was not told to read its units again"
    assert _tree(bare) == before | {"/etc/mountwarden", "/etc/mountwarden/mountwarden.toml"}
    assert bare.read("/etc/mountwarden/mountwarden.toml") == 'mode = "observe"\n'
    assert "a sample happened" not in bare.run("journalctl", "--list-catalog", MESSAGE, check=False).stdout
    _make(bare, "uninstall", "PURGE=1")
    assert _tree(bare) == before


def test_destdir_leaves_systemd_and_the_catalog_alone(bare: Machine) -> None:
    _make(bare, "uninstall")
    said = _make(bare, "install", "DESTDIR=/root/destination")
    assert re.search(r"\d+ files, listed in /root/destination/usr/local/lib/mountwarden/manifest", said)
    assert bare.show("sample.service", "LoadState") == "not-found"
    assert "a sample happened" not in bare.run("journalctl", "--list-catalog", MESSAGE, check=False).stdout
