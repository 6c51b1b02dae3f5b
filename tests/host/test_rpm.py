"""The .rpm on a booted host: installed, upgraded under a running service, and removed, by rpm itself.

The host is a Debian one, so that rpm is taken there with its libraries, and told of no dependency; what distributions
of rpm add (file triggers for the catalog, presets of their own) is not there.
"""

import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host.test_agent import UNIT, Service
from tests.support import tree
from tests.support.builds import NEWER, Builds
from tests.support.leaks import OBSERVE
from tests.support.machine import Machine
from tests.support.wait import wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

CONFIG = "/etc/mountwarden/mountwarden.toml"
PLACE = "/opt/rpm"


@pytest.fixture
def host() -> Iterator[Machine]:
    """Without the product, and with the preset that a distribution would give."""
    if reason := tree.obstacle():
        pytest.skip(reason)
    with Machine() as machine:
        machine.write("/etc/systemd/system-preset/00-mountwarden.preset", f"enable {UNIT}\n")
        yield machine


def bring_rpm(host: Machine) -> None:
    """rpm with its own loader and libraries, which its scriptlets do not see; and its macros and formats."""
    listed = subprocess.run(["ldd", "/usr/bin/rpm"], check=True, capture_output=True, text=True).stdout.split()
    for library in {Path(word) for word in listed if word.startswith("/")}:
        host.copy_in(library.resolve(), f"{PLACE}/lib/{library.name}")
    host.copy_in(Path("/usr/bin/rpm"), f"{PLACE}/rpm")
    host.copy_in(Path("/usr/lib/rpm"), "/usr/lib/rpm")
    loader = next(Path(word).name for word in listed if Path(word).name.startswith("ld-linux"))
    launcher = f'#!/bin/sh\nexec {PLACE}/lib/{loader} --library-path {PLACE}/lib {PLACE}/rpm "$@"\n'
    host.write("/usr/local/bin/rpm", launcher, 0o755)


def install(host: Machine, how: str, package: Path) -> None:
    host.copy_in(package, f"/root/{package.name}")
    host.run("rpm", how, "--nodeps", f"/root/{package.name}")


def state(host: Machine) -> tuple[str, str]:
    return host.run("systemctl", "is-enabled", UNIT, check=False).stdout.strip(), host.show(UNIT, "ActiveState")


def test_its_life(host: Machine, builds: Builds) -> None:
    package, newer = builds.rpm(), builds.newer("rpm")
    bring_rpm(host)
    install(host, "-i", package)
    assert state(host) == ("enabled", "inactive"), "the preset decides, and nothing is started"
    assert host.run("mountwarden", "config", "check").stdout == "/etc/mountwarden: the configuration is right\n"
    assert host.run("rpm", "-V", "--nodeps", "mountwarden").stdout == ""

    service = Service(host)
    service.leaks.prepare()
    service.configure(OBSERVE)
    host.run("systemctl", "start", UNIT)
    mountpoint = service.leaks.make("leaky")[0]
    service.await_event("found", mountpoint)
    (one,) = service.findings(mountpoint)
    pid = host.main_pid(UNIT)
    install(host, "-U", newer)
    assert host.run("mountwarden", "--version").stdout == f"mountwarden {NEWER}\n"
    assert host.read(CONFIG) == OBSERVE, "a changed configuration stays"
    assert host.main_pid(UNIT) not in (0, pid)
    wait_until(lambda: service.document("report")["version"] == NEWER, 10, "a report of the new version")
    (again,) = wait_until(lambda: service.findings(mountpoint), 10, "the finding in it")
    assert (again["id"], again["since"]) == (one["id"], one["since"])
    events = Counter(one["MOUNTWARDEN_EVENT"] for one in service.events())
    assert (events["found"], events["cleared"]) == (1, 0)

    pid = host.main_pid(UNIT)
    host.run("rpm", "-e", "mountwarden")
    assert host.run("test", "-d", f"/proc/{pid}", check=False).returncode == 1, "the service has ended"
    assert host.show(UNIT, "LoadState") == "not-found"
    left = host.run("find", "/usr", "/etc", "-xdev", "-name", "*mountwarden*", "!", "-path", "*/systemd/*").stdout
    assert set(left.split()) == {"/etc/mountwarden", f"{CONFIG}.rpmsave"}, "and with it all but what was changed"
    assert host.read(f"{CONFIG}.rpmsave") == OBSERVE
    service.leaks.clean()


def test_a_disabled_service_is_left_alone_by_an_upgrade(host: Machine, builds: Builds) -> None:
    package, newer = builds.rpm(), builds.newer("rpm")
    bring_rpm(host)
    host.run("rm", "/etc/systemd/system-preset/00-mountwarden.preset")
    install(host, "-i", package)
    assert state(host) == ("disabled", "inactive")
    install(host, "-U", newer)
    assert state(host) == ("disabled", "inactive")
