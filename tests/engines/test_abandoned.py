"""What dockerd does not know any more and the host still has mounted, with the service: told, explained, unmounted."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.fixtures import booted
from tests.support.inside import inside
from tests.support.machine import Machine
from tests.support.wait import wait_until

pytestmark = [pytest.mark.engines, pytest.mark.timeout(300)]

CONFIG = 'resync = "5s"\n[confirm]\nabandoned = "6s"\n'
LAYERS = "/var/lib/docker/overlay2"
MANY = 60
"""More than the service asks for the causes of at once."""
_LEAVE = """
set -e
for number in $(seq "$1" "$2"); do
    layer=/var/lib/docker/overlay2/$(printf %064x $number)
    mkdir -p $layer/diff $layer/work $layer/merged
    mount -t overlay overlay -o "lowerdir=$3,upperdir=$layer/diff,workdir=$layer/work" $layer/merged
done
"""


@pytest.fixture(scope="module")
def host() -> Iterator[Machine]:
    """A host with a running container, and the service."""
    with booted() as machine:
        machine.start_docker()
        machine.import_image("docker")
        machine.docker("run", "-d", "--network=none", "--name", "c1", "bb", "sleep", "1000")
        machine.run("mkdir", "-p", "/etc/mountwarden", "/srv/lower")
        machine.write("/etc/mountwarden/mountwarden.toml", CONFIG)
        machine.run("systemctl", "start", "mountwarden")
        yield machine


def leave(host: Machine, first: int, last: int) -> list[str]:
    """Layers that dockerd has no name for, mounted as it mounts them; their mountpoints."""
    host.run("sh", "-c", _LEAVE, "sh", str(first), str(last), "/srv/lower", timeout=240)
    return [f"{LAYERS}/{number:064x}/merged" for number in range(first, last + 1)]


def told(host: Machine) -> list[dict[str, Any]]:
    report = json.loads(host.run("mountwarden", "report", "--json", "--no-wait", check=False).stdout)
    return [one for one in report["findings"] if one["kind"] == "abandoned" and one["confirmed"]]


def counts(host: Machine) -> list[int]:
    """Of how many findings each journal entry tells."""
    entries = host.journal("MOUNTWARDEN_EVENT=summary") + host.journal("MOUNTWARDEN_EVENT=found")
    return [int(entry.get("MOUNTWARDEN_COUNT", 1)) for entry in entries]


def mounted(host: Machine) -> set[str]:
    return {line.split()[4] for line in host.read("/proc/1/mountinfo").splitlines()}


def test_they_are_told_once_they_have_held_and_a_running_container_never(host: Machine) -> None:
    left = leave(host, 1, MANY)
    began = time.monotonic()
    wait_until(lambda: len(told(host)) == MANY, 60, "all are confirmed")
    assert time.monotonic() - began > 5, "not before their confirm time"
    assert sorted(one["mountpoint"] for one in told(host)) == left
    assert {(one["left_behind"], one["severity"]) for one in told(host)} == {("layer", "warning")}
    wait_until(lambda: sum(counts(host)) == MANY, 30, "all are in the journal")
    assert len(counts(host)) < MANY / 2, "many at once are one entry; a scan may have come while they were mounted"
    text = host.run("mountwarden", check=False).stdout
    assert f"{MANY} abandoned: layers that no container has, still mounted on the host" in text
    assert "→ mountwarden unmount --all --kind abandoned --root /var/lib/docker" in text


def test_a_dry_run_says_what_would_be_done_and_is_not_done(host: Machine) -> None:
    first = told(host)[0]
    text = host.run("mountwarden", "unmount", first["id"], "--dry-run").stdout
    assert f"never lazily: umount {first['mountpoint']}" in text
    assert "predicted: no other mount namespace loses anything" in text
    assert f"; that frees {first['frees']}" in text
    assert first["mountpoint"] in mounted(host)
    explained = " ".join(host.run("mountwarden", "explain", first["id"], check=False).stdout.split())
    assert "its owner is gone: dockerd runs and answers" in explained


def test_one_that_is_in_use_is_declined_and_stays(host: Machine) -> None:
    first = told(host)[0]
    with inside(host, first["mountpoint"]):
        done = host.run("mountwarden", "unmount", first["id"], check=False)
    assert done.returncode == 1
    assert first["mountpoint"] in mounted(host)
    assert "declined: " in done.stdout


def test_all_of_them_are_unmounted_and_the_container_lives_on(host: Machine) -> None:
    left = {one["mountpoint"] for one in wait_until(lambda: told(host), 30, "they are told again")}
    done = host.run("mountwarden", "unmount", "--all", "--kind", "abandoned", "--yes", timeout=120, check=False)
    assert done.returncode == 0, done.stdout
    assert not left & mounted(host)
    host.docker("exec", "c1", "true")
    wait_until(lambda: told(host) == [], 30, "they are over")
    texts = [entry["MESSAGE"] for entry in host.journal("MOUNTWARDEN_EVENT=acted")]
    assert len(texts) == len(left)
    assert all("unmount done: /var/lib/docker/overlay2/" in text for text in texts)


def test_while_dockerd_is_down_nothing_is_told(host: Machine) -> None:
    leave(host, MANY + 1, MANY + 2)
    wait_until(lambda: len(told(host)) == 2, 90, "they are told")
    host.run("systemctl", "stop", "docker.socket", "docker.service")
    wait_until(lambda: told(host) == [], 90, "nothing is told any more")


TASKS = "/run/containerd/io.containerd.runtime.v2.task/default"
AUTO = '[[policy]]\naction = "unmount"\nkind = "abandoned"\npolicy = "auto"\n'
_TASK = """
set -e
mkdir -p $1/rootfs /run/task/upper /run/task/work
echo -n unix:///run/containerd/s/0123456789abcdef > $1/address
sleep 0 & echo -n $! > $1/init.pid; wait
mount -t overlay overlay -o lowerdir=/srv/lower,upperdir=/run/task/upper,workdir=/run/task/work $1/rootfs
"""


def test_a_policy_makes_it_automatic_for_a_task_and_not_for_a_layer(host: Machine) -> None:
    """The layers of the test before are left, too."""
    host.run("systemctl", "start", "docker.service")
    host.run("sh", "-c", _TASK, "sh", f"{TASKS}/left")
    task = f"{TASKS}/left/rootfs"
    wait_until(lambda: {one["left_behind"] for one in told(host)} == {"layer", "task"}, 90, "both are told")
    assert {one["remedies"][0]["automatic"] for one in told(host)} == {False}
    host.write("/etc/mountwarden/mountwarden.toml", CONFIG + AUTO)
    host.run("systemctl", "reload", "mountwarden")
    wait_until(lambda: task not in mounted(host), 60, "the service has unmounted the task's")
    wait_until(lambda: {one["left_behind"] for one in told(host)} == {"layer"}, 60, "layers are left to a human")
    (entry,) = (one for one in host.journal("MOUNTWARDEN_EVENT=acted") if task in one["MESSAGE"])
    assert "it is gone on the host" in entry["MESSAGE"]
