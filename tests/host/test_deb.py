"""The .deb on booted Debian hosts: installed, upgraded under a running service, removed and purged."""

import json
import re
from collections import Counter
from collections.abc import Iterator

import pytest
from mountwarden import __version__
from mountwarden.output import journal_messages

from tests.host.test_agent import UNIT, Service
from tests.support import tree
from tests.support.builds import NEWER, Builds
from tests.support.leaks import OBSERVE
from tests.support.machine import Machine
from tests.support.packages import TODAY
from tests.support.product import install_package
from tests.support.wait import wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

SUITES = ["bookworm", "trixie", TODAY]
GRAPHDRIVER = ["mountwarden-graphdriver.service", "mountwarden-graphdriver.socket"]
CONFIG = "/etc/mountwarden/mountwarden.toml"
REGISTRY = {"/run/varlink", "/run/varlink/registry"}
"""Directories of all services that have a Varlink socket; whoever comes first makes them."""


@pytest.fixture(params=SUITES)
def debian(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A booted Debian without the product, that installs documents and starts services as any other does."""
    if reason := tree.obstacle(request.param):
        pytest.skip(reason)
    with Machine(suite=request.param) as machine:
        machine.run("rm", "/etc/dpkg/dpkg.cfg.d/99mmdebstrap", "/etc/systemd/system-preset/00-test-host.preset")
        yield machine


@pytest.fixture
def service(debian: Machine, builds: Builds) -> Service:
    """The installed and running service, with a root of the tests' own."""
    install_package(debian, builds.deb())
    return Service(debian)


def enabled(host: Machine, unit: str) -> str:
    return host.run("systemctl", "is-enabled", unit, check=False).stdout.strip()


def paths(host: Machine) -> set[str]:
    """All paths of the root file system and of /run, but for what dpkg, apt and systemd keep for themselves."""
    found = host.run("find", "/", "/run", "-xdev", "!", "-type", "s").stdout.splitlines()
    kept = re.compile(r"/(var/lib/(dpkg|systemd|ucf)|var/cache|var/log|root|run/(systemd|log|udev|lock|user))(/|$)")
    return {path for path in found if not kept.match(path)}


def test_an_installation_starts_the_service_and_brings_all(debian: Machine, builds: Builds) -> None:
    install_package(debian, builds.deb())
    assert (enabled(debian, UNIT), debian.show(UNIT, "ActiveState")) == ("enabled", "active")
    for unit in GRAPHDRIVER:
        assert (enabled(debian, unit), debian.show(unit, "ActiveState")) == ("disabled", "inactive")
    assert debian.run("mountwarden", "--version").stdout == f"mountwarden {__version__}\n"
    assert debian.run("mountwarden", "config", "check").stdout == "/etc/mountwarden: the configuration is right\n"
    pystemd = debian.run("/usr/bin/python3", "-I", "-c", "import pystemd; print(pystemd.__file__)").stdout
    assert pystemd.startswith("/usr/lib/python3/dist-packages/pystemd/")
    service = Service(debian)
    service.scanned()
    assert service.document("report")["mode"] == "act"
    assert debian.run("journalctl", "--list-catalog", *journal_messages.IDS.values()).stdout.count("\n") == len(
        journal_messages.IDS
    )
    for name in (
        "man1/mountwarden.1",
        "man5/mountwarden.toml.5",
        "man7/mountwarden.report.7",
        "man8/mountwarden.service.8",
    ):
        debian.run("test", "-s", f"/usr/share/man/{name}.gz")
    completed = ". /usr/share/bash-completion/bash_completion; _completion_loader mountwarden; complete -p mountwarden"
    assert "mountwarden" in debian.run("bash", "-c", completed).stdout
    verified = debian.run("dpkg", "--verify", "mountwarden")
    assert (verified.stdout, verified.stderr) == ("", "")
    assert debian.journal("SYSLOG_IDENTIFIER=mountwarden", "-p", "warning") == []


def test_no_finding_is_lost_or_doubled_by_an_upgrade(service: Service, builds: Builds) -> None:
    host = service.host
    service.leaks.prepare()
    service.configure(OBSERVE)
    host.run("systemctl", "restart", UNIT)
    service.scanned()
    before = service.leaks.make("leaky-before")[0]
    service.await_event("found", before)
    (one,) = service.findings(before)
    pid = host.main_pid(UNIT)
    layer = service.leaks.mount()
    host.copy_in(builds.newer(), "/root/newer.deb")
    with host.popen("dpkg", "--force-confold", "-i", "/root/newer.deb") as upgrade:
        service.leaks.leak(layer, "leaky-meanwhile")
        said = upgrade.communicate(timeout=120)
    assert upgrade.returncode == 0, said
    assert host.run("mountwarden", "--version").stdout == f"mountwarden {NEWER}\n"
    assert host.read(CONFIG) == OBSERVE
    assert host.main_pid(UNIT) not in (0, pid)
    after = service.leaks.make("leaky-after")[0]
    told = [before, f"{layer}/merged", after]
    for mountpoint in told:
        service.await_event("found", mountpoint)
    wait_until(lambda: service.document("report")["version"] == NEWER, 30, "a report of the new version")
    wait_until(lambda: all(len(service.findings(mountpoint)) == 1 for mountpoint in told), 30, "all in the report")
    again = service.findings(before)[0]
    assert (again["id"], again["since"]) == (one["id"], one["since"])
    events = Counter((one["MOUNTWARDEN_EVENT"], one.get("MOUNTWARDEN_MOUNTPOINT")) for one in service.events())
    assert {mountpoint: events["found", mountpoint] for mountpoint in told} == dict.fromkeys(told, 1)
    assert not [key for key in events if key[0] == "cleared"]
    service.leaks.clean()
    for mountpoint in told:
        service.await_event("cleared", mountpoint)


def test_an_upgrade_leaves_a_disabled_service_alone(service: Service, builds: Builds) -> None:
    host = service.host
    host.run("systemctl", "disable", "--now", UNIT)
    install_package(host, builds.newer())
    assert (enabled(host, UNIT), host.show(UNIT, "ActiveState")) == ("disabled", "inactive")


def test_an_upgrade_leaves_a_running_graphdriver_alone(service: Service, builds: Builds) -> None:
    host = service.host
    host.run("systemctl", "start", *GRAPHDRIVER)
    pid = host.main_pid(GRAPHDRIVER[0])
    assert pid
    install_package(host, builds.newer())
    assert host.main_pid(GRAPHDRIVER[0]) == pid


def test_removed_it_keeps_the_configuration_and_purged_nothing(debian: Machine, builds: Builds) -> None:
    before = paths(debian)
    install_package(debian, builds.deb())
    service = Service(debian)
    service.leaks.prepare()
    service.configure(OBSERVE)
    debian.run("systemctl", "restart", UNIT)
    service.await_event("found", service.leaks.make("leaky")[0])
    pid = debian.main_pid(UNIT)
    debian.run("dpkg", "--remove", "mountwarden")
    assert debian.run("test", "-d", f"/proc/{pid}", check=False).returncode == 1, "the service still runs"
    assert debian.show(UNIT, "LoadState") in ("not-found", "masked")
    assert (
        debian.run("journalctl", "--list-catalog", journal_messages.IDS["found"], check=False).stdout.count("\n") == 0
    )
    assert debian.read(CONFIG) == OBSERVE
    left = {
        path for path in paths(debian) - before if not path.startswith(("/etc/mountwarden", "/run/mountwarden", "/srv"))
    }
    assert {path for path in left if "mountwarden" in path and "/etc/systemd/" not in path} == set()

    install_package(debian, builds.deb())
    service.scanned()
    assert json.loads(debian.read("/run/mountwarden/report.json"))["mode"] == "observe"
    service.leaks.clean()
    debian.run("umount", "-l", "/srv/layers")
    debian.run("rmdir", "/srv/layers")
    debian.run("dpkg", "--purge", "mountwarden")
    assert paths(debian) - before <= REGISTRY
    assert debian.run("find", "/etc/systemd", "/var/lib/systemd", "-name", "*mountwarden*").stdout == ""
    assert debian.show(UNIT, "LoadState") == "not-found"


def test_without_pystemd_it_is_not_configured(debian: Machine, builds: Builds) -> None:
    debian.run("dpkg", "--purge", "python3-pystemd")
    debian.copy_in(builds.deb(), "/root/mountwarden.deb")
    done = debian.run("dpkg", "-i", "/root/mountwarden.deb", check=False)
    assert done.returncode != 0
    assert "python3-pystemd" in done.stderr
