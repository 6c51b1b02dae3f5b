"""The package of the first state of this product, replaced by today's under a running service and a living leak."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host.test_agent import UNIT, Service
from tests.support import checkout, tree
from tests.support.builds import NEWER, Builds, make
from tests.support.leaks import CONFIG, OBSERVE
from tests.support.machine import Machine
from tests.support.product import install_package
from tests.support.wait import wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(580)]

SETTINGS = "/etc/mountwarden/mountwarden.toml.d/test.toml"
"""Beside the package's own file, of which dpkg would ask."""
FIRST = "d4d9eca"
"""Its ledger is mountwarden.ledger/1."""
_GIT = ["git", "-c", "safe.directory=*", "-C", str(checkout.ROOT)]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its .deb."""
    place = tmp_path_factory.mktemp("first")
    found = subprocess.run([*_GIT, "archive", FIRST], capture_output=True, check=False)
    if found.returncode:
        pytest.xfail(f"this checkout does not have {FIRST}")
    source = place / "source"
    source.mkdir()
    subprocess.run(["tar", "-x", "-C", source], input=found.stdout, check=True)
    done = make("deb", source, place / "dist")
    assert done.returncode == 0, done.stdout + done.stderr
    return next((place / "dist").glob("*.deb"))


@pytest.fixture
def debian() -> Iterator[Machine]:
    if reason := tree.obstacle():
        pytest.skip(reason)
    with Machine() as machine:
        machine.run("rm", "-f", "/etc/dpkg/dpkg.cfg.d/99mmdebstrap", "/etc/systemd/system-preset/00-test-host.preset")
        yield machine


def test_a_finding_lives_on_and_nothing_is_acted_on_without_history(
    debian: Machine, first: Path, builds: Builds
) -> None:
    service = Service(debian)
    service.leaks.prepare()
    debian.write(SETTINGS, OBSERVE)
    install_package(debian, first)
    debian.run("systemctl", "restart", UNIT)
    service.scanned()
    unseen, _unit = service.leaks.make("leaky-of-before")
    found = service.await_event("found", unseen)
    install_package(debian, builds.newer())
    assert debian.run("mountwarden", "--version").stdout == f"mountwarden {NEWER}\n"
    service.scanned()
    debian.write(SETTINGS, CONFIG)  # the first one, too, would take it up at once
    wait_until(lambda: service.document("report")["mode"] == "act", 30, "it may act")
    (one,) = wait_until(lambda: [f for f in service.findings(unseen) if f["confirmed"]], 30, "it is there still")
    again = service.events(f"MOUNTWARDEN_MOUNTPOINT={unseen}", event="found")
    assert 1 <= len(again) <= 2, again
    assert one["id"] == found["MOUNTWARDEN_FINDING"] or len(again) == 2
    pid = str(debian.main_pid(UNIT))
    (started,) = [entry for entry in service.events(event="started") if entry["_PID"] == pid]
    print(started["MESSAGE"])
    assert len(again) == 1 or "the saved ledger is of another version" in started["MOUNTWARDEN_TEXT"]

    seen, _unit = service.make_seen("leaky-of-now")
    assert service.await_event("acted", seen)["MOUNTWARDEN_EVIDENCE"] == "history"
    tried = service.events(f"MOUNTWARDEN_MOUNTPOINT={unseen}", event="acted")
    assert [e["MOUNTWARDEN_EVIDENCE"] for e in tried] == ["history"] * len(tried)
    assert one["evidence"] == "history" or not tried
    assert debian.show(UNIT, "NRestarts") == "0"
    assert debian.run("mountwarden", "report", check=False).returncode in (0, 1)
    service.leaks.clean()
    service.await_event("cleared", unseen)
