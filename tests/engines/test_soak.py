"""Real containers coming and going beside services and planted leaks: every planted one is found, and nothing else."""

import contextlib
import datetime
import json
import os
import time
from collections.abc import Iterator

import pytest

from tests.support.fixtures import booted
from tests.support.machine import Machine
from tests.support.oracle import Oracle
from tests.support.wait import wait_until

GRAPH = "/var/lib/docker/overlay2"
# Every other container by podman; lives of 0 to 3 seconds; 4 at a time.
LOAD = """
seq 1 {count} | xargs -P 4 -I N sh -c '
    engine=docker; [ $((N % 2)) = 0 ] || engine=podman
    $engine run --rm --network=none bb sleep $((N * 7 % 4))
    echo $? >> /tmp/load'
"""
RESTART = "while :; do sleep 2; systemctl restart churn-private churn-slave churn-plain; done"
CHURN = {
    "churn-private": ("PrivateTmp=yes", "MountFlags=private"),
    "churn-slave": ("MountFlags=slave",),
    "churn-plain": ("PrivateTmp=yes", "ProtectSystem=strict"),
}


@contextlib.contextmanager
def soaking(count: int) -> Iterator[tuple[Machine, Oracle]]:
    """A host with both engines under load, three services that restart every 2 s, and the agent in its default mode."""
    with booted() as host:
        host.start_docker()
        host.import_image("docker")
        host.import_image("podman")
        host.run("systemctl", "start", "mountwarden")
        for unit, properties in CHURN.items():
            # A unit file, not a transient unit: `systemctl restart` of those ends them.
            lines = "\n".join(("[Service]", "ExecStart=/bin/sleep infinity", *properties))
            host.write(f"/etc/systemd/system/{unit}.service", f"{lines}\n")
        host.run("systemctl", "daemon-reload")
        host.run("systemctl", "start", *CHURN)
        host.run("systemd-run", "--unit=restarts", "sh", "-c", RESTART)
        host.run("systemd-run", "--unit=load", "-p", "KillMode=process", "sh", "-c", LOAD.format(count=count))
        yield host, Oracle(host, GRAPH)


def events(host: Machine, kind: str) -> list[dict]:  # type: ignore[type-arg]
    return [e for e in host.journal("-t", "mountwarden") if e["MOUNTWARDEN_EVENT"] == kind]


def await_look(host: Machine, moment: float) -> None:
    """Wait until the agent looked after that moment (seconds since the Epoch)."""

    def looked() -> bool:
        text = host.run("cat", "/run/mountwarden/report.json", check=False).stdout
        return bool(text) and datetime.datetime.fromisoformat(json.loads(text)["taken"]).timestamp() > moment

    wait_until(looked, 30, "the agent looked")


def soak(count: int, plants: int, seconds: float) -> str:
    started = time.monotonic()
    with soaking(count) as (host, oracle):
        for number in range(plants):
            mountpoint = oracle.mount(f"planted{number}")
            await_look(host, time.time())
            properties = ("PrivateTmp=yes", "MountFlags=private") if number % 2 else ("MountFlags=private",)
            oracle.leak(mountpoint, f"planted{number}", *properties)
        planted = {one.mountpoint for one in oracle.planted}

        def found() -> set[str]:
            return {event["MOUNTWARDEN_MOUNTPOINT"] for event in events(host, "found")}

        wait_until(lambda: planted <= found(), 60, "every planted leak is found")
        wait_until(lambda: not oracle.still_leaked(), 60, "and detached")
        done = lambda: host.run("sh", "-c", "wc -l < /tmp/load").stdout.strip() == str(count)  # noqa: E731
        wait_until(done, seconds, "all containers have lived")
        assert set(host.read("/tmp/load").split()) == {"0"}, "every container ran"
        for one in oracle.planted:
            assert oracle.directory(one.mountpoint) == one.directory, "the directory is as it was"
        told = events(host, "found")
        keep = ("MESSAGE", "MOUNTWARDEN_SEEN_AT", "MOUNTWARDEN_EVIDENCE", "MOUNTWARDEN_HOLDER", "OBJECT_COMM")
        others = [[e.get(k) for k in keep] for e in told if e["MOUNTWARDEN_MOUNTPOINT"] not in planted]
        assert others == [], "nothing else is told"
        assert {e["MOUNTWARDEN_KIND"] for e in told} == {"leaked"}
        assert oracle.other_leaks() == [], "and nothing else was there to tell"
        assert [e["MESSAGE"] for e in events(host, "failed")] == []
        report = json.loads(host.run("mountwarden", "report", "--json", check=False).stdout)
        assert [f for f in report["findings"] if f["severity"] != "info" and f["confirmed"]] == []
        detached = len(events(host, "acted"))
    return (
        f"{count} containers, {plants} planted, {len(planted & found_once(told))} found, {len(others)} false, "
        f"{detached} acts, {time.monotonic() - started:.0f} s"
    )


def found_once(told: list[dict]) -> set[str]:  # type: ignore[type-arg]
    return {event["MOUNTWARDEN_MOUNTPOINT"] for event in told}


@pytest.mark.timeout(180)
def test_a_short_soak(capsys: pytest.CaptureFixture[str]) -> None:
    told = soak(30, 5, 120)
    with capsys.disabled():
        print(f"\nsoak: {told}")


@pytest.mark.long
@pytest.mark.timeout(900)
def test_200_containers_and_10_planted_leaks(capsys: pytest.CaptureFixture[str]) -> None:
    told = soak(int(os.environ.get("SOAK_CONTAINERS", "200")), int(os.environ.get("SOAK_PLANTED", "10")), 800)
    with capsys.disabled():
        print(f"\nsoak: {told}")
