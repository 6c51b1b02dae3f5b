"""The main job with a real dockerd: a leak seen, named, forced off, told; and a private root shared again."""

import json
import statistics
import time
from collections.abc import Iterator

import pytest
from mountwarden.report import types

from tests.support.looked import await_look
from tests.support.machine import Machine
from tests.support.wait import wait_until

LAYER = "/var/lib/docker/overlay2/X"
MERGED = f"{LAYER}/merged"
MAKE = f"""
set -e
mkdir -p {LAYER}/lower {LAYER}/diff {LAYER}/work {MERGED}
chmod 750 {MERGED}; chown 100000:100001 {MERGED}
mount -t overlay overlay -o lowerdir={LAYER}/lower,upperdir={LAYER}/diff,workdir={LAYER}/work {MERGED}
"""


@pytest.fixture
def docker(host: Machine) -> Iterator[Machine]:
    """A host with dockerd and the agent running, and nothing wrong."""
    if host.show("docker.service", "ActiveState") != "active":
        host.start_docker()
    yield host
    host.run("systemctl", "stop", "leaky.service", "mountwarden", check=False)
    host.run("systemctl", "reset-failed", check=False)
    host.run("sh", "-c", f"rm -rf /etc/mountwarden /run/mountwarden/*; umount {MERGED} 2>/dev/null; rm -rf {LAYER}")


def start_agent(host: Machine, mode: str) -> None:
    host.run("mkdir", "-p", "/etc/mountwarden")
    host.write("/etc/mountwarden/mountwarden.toml", f'mode = "{mode}"\n')
    host.run("systemctl", "start", "mountwarden")
    wait_until(lambda: "watch" in status(host) or "root" in status(host), 30, "the first look is told in STATUS=")


def status(host: Machine) -> str:
    return host.show("mountwarden.service", "StatusText")


def leak(host: Machine) -> None:
    """An overlay of a layer, a unit that takes a private copy of it, an umount at home without an rmdir."""
    host.run("sh", "-c", MAKE)
    mounted = time.time()
    # Only what the agent saw mounted has a history to act on; a container that it never saw is only reported.
    await_look(host, mounted)
    host.unit("leaky", "PrivateTmp=yes", "MountFlags=private")
    wait_until(lambda: held(host), 30, "the unit has a copy")
    host.run("umount", MERGED)


def held(host: Machine) -> bool:
    pid = host.main_pid("leaky.service")
    return f" {MERGED} " in host.run("cat", f"/proc/{pid}/mountinfo").stdout


def report(host: Machine) -> tuple[int, dict]:  # type: ignore[type-arg]
    done = host.run("mountwarden", "report", "--json", check=False)
    return done.returncode, json.loads(done.stdout)


def test_observe_reports_one_leak_that_names_the_unit(docker: Machine) -> None:
    start_agent(docker, "observe")
    leak(docker)
    wait_until(lambda: report(docker)[0] == 1, 30, "it has lasted for the confirm time")
    _code, told = report(docker)
    (finding,) = (found for found in told["findings"] if found["severity"] != "info")
    assert (finding["kind"], finding["engine"], finding["layer"]) == ("leaked", "docker", "X")
    assert finding["mountpoint"] == MERGED
    assert {holder["unit"] for holder in types.holders(finding)} == {"leaky.service"}
    assert finding["copies"][0]["namespace"]["kind"] == "service"
    assert finding["cause"]["text"] == (
        "leaky.service has MountFlags=private (set when it was started as a transient unit), so umounts on the host do "
        "not reach its mount namespace."
    )
    assert held(docker), "observe acts on nothing"


def test_by_default_it_is_gone_in_seconds_and_the_directory_is_as_it_was(
    docker: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    start_agent(docker, "act")
    earlier = len(docker.journal("MOUNTWARDEN_KIND=leaked"))
    took = []
    for _ in range(3):
        leak(docker)
        began = time.monotonic()
        before = docker.run("stat", "-c", "%a %u %g", MERGED).stdout
        wait_until(lambda: not held(docker), 30, "the copy is gone")
        took.append(time.monotonic() - began)
        assert docker.run("stat", "-c", "%a %u %g", MERGED).stdout == before == "750 100000 100001\n"
        assert docker.run("ls", "-A", MERGED).stdout == ""
        docker.run("systemctl", "stop", "leaky.service")
    with capsys.disabled():
        print(f"\nleak to detach with a real dockerd: median {statistics.median(took):.2f} s, {took}")
    assert statistics.median(took) < 4

    def events() -> list[str]:
        return [entry["MOUNTWARDEN_EVENT"] for entry in docker.journal("MOUNTWARDEN_KIND=leaked")[earlier:]]

    wait_until(lambda: len(events()) == 9, 30, "found, acted and cleared, three times over")
    assert sorted(events()) == ["acted"] * 3 + ["cleared"] * 3 + ["found"] * 3
    own = docker.run("journalctl", "-u", "leaky.service", "-o", "cat").stdout
    assert "leaked" in own, "the holder's own journal shows it"


def test_a_root_that_is_a_mount_and_was_made_private_is_shared_again(docker: Machine) -> None:
    start_agent(docker, "act")
    docker.run("mount", "--make-private", "/var/lib/docker")

    def shared() -> bool:
        return docker.run("findmnt", "-n", "-o", "PROPAGATION", "/var/lib/docker").stdout.strip() == "shared"

    # Nothing tells of it, so a tick sees it: after 1 s, but after 5 s once looks were made for nothing.
    wait_until(shared, 10, "it is shared")
