"""Real containers coming and going beside services and planted leaks: every planted one is found, and nothing else."""

import contextlib
import json
import os
import statistics
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import restarts
from tests.support.fixtures import booted
from tests.support.leaks import CONFIG, Leaks
from tests.support.machine import Machine
from tests.support.oracle import Oracle, Planted
from tests.support.told import at, await_look, events, not_done, values
from tests.support.wait import wait_until

# Every other container by podman; lives of 0 to 3 seconds; 4 at a time.
LOAD = """
seq 1 {count} | xargs -P 4 -I N sh -c '
    engine=docker; [ $((N % 2)) = 0 ] || engine=podman
    $engine run --rm --network=none bb sleep $((N * 7 % 4))
    echo $? >> /tmp/load'
"""


@contextlib.contextmanager
def soaking(count: int) -> Iterator[tuple[Machine, Oracle]]:
    """A host with both engines under load, three services that restart every 2 s, and the agent in its default mode."""
    with booted() as host:
        host.start_docker()
        host.import_image("docker")
        host.import_image("podman")
        Leaks(host).prepare()
        host.write("/etc/mountwarden/mountwarden.toml", CONFIG)
        host.run("systemctl", "start", "mountwarden")
        restarts.start(host)
        host.run("systemd-run", "--unit=load", "-p", "KillMode=process", "sh", "-c", LOAD.format(count=count))
        oracle = Oracle(host)
        oracle.start()
        yield host, oracle


def lived(host: Machine) -> int:
    """How many containers have ended."""
    return len(host.run("cat", "/tmp/load", check=False).stdout.split())


def plant(host: Machine, oracle: Oracle, count: int, plants: int, seconds: float) -> None:
    """Plant so many leaks, spread over the lives of the containers."""
    for number in range(plants):
        due = count * number // plants
        wait_until(lambda: lived(host) >= due, seconds, f"{due} containers have lived")  # noqa: B023
        mountpoint = oracle.mount(number)
        await_look(host)
        oracle.leak(number, mountpoint)


def soak(count: int, plants: int, seconds: float) -> str:
    """The whole of it; returns its figures. `seconds` is what the containers may take."""
    started = time.monotonic()
    with soaking(count) as (host, oracle):
        plant(host, oracle, count, plants, seconds)
        planted = {one.mountpoint: one for one in oracle.planted}
        assert len(planted) == plants

        def acted() -> set[str]:
            return {event["MOUNTWARDEN_MOUNTPOINT"] for event in events(host, "acted")}

        wait_until(lambda: acted() >= planted.keys(), 60, "every planted leak is found and detached")
        assert oracle.still_leaked() == []
        wait_until(lambda: lived(host) == count, seconds, "all containers have lived")
        assert set(host.read("/tmp/load").split()) == {"0"}, "every container ran"
        for one in oracle.planted:
            assert oracle.directory(one.mountpoint) == one.directory, "the directory is as it was"
        restarts.stop(host)
        await_look(host, time.time() + 2)
        scans, others = oracle.stop()
        assert others == [], "nothing else was there to find"
        assert oracle.orphans() == []
        judge(host, planted)
        delays = [at(e) - planted[e["MOUNTWARDEN_MOUNTPOINT"]].at for e in events(host, "acted")]
    return (
        f"{count} containers, {plants} planted, {plants} found and detached (median {statistics.median(delays):.2f} s, "
        f"worst {max(delays):.2f} s), nothing else; {scans} readings by the oracle; {time.monotonic() - started:.0f} s"
    )


def judge(host: Machine, planted: dict[str, Planted]) -> None:
    """What the service told is what the oracle knows: each planted leak, where it was, once; nothing else."""
    found = events(host, "found")
    assert {e["MOUNTWARDEN_KIND"] for e in found} == {"leaked"}
    true = {(one.mountpoint, namespace) for one in planted.values() for namespace in one.namespaces}
    false = [e for e in found if not told_places(e) <= true]
    assert false == [], "nothing else is told"
    told = [e["MOUNTWARDEN_MOUNTPOINT"] for e in found]
    assert set(told) == planted.keys(), "and none is missed"
    assert len(told) == len(set(told)), "each is told once"
    assert {e["MOUNTWARDEN_MOUNTPOINT"] for e in events(host, "acted")} == planted.keys()
    assert not_done(host) == []
    report = json.loads(host.run("mountwarden", "report", "--json", "--all", check=False).stdout)
    assert [f for f in report["findings"] if f["severity"] != "info" and f["confirmed"]] == []


def told_places(entry: dict[str, Any]) -> set[tuple[str, str]]:
    return {(entry["MOUNTWARDEN_MOUNTPOINT"], inode) for inode in values(entry, "MOUNTWARDEN_NAMESPACE")}


@pytest.mark.timeout(180)
def test_a_short_soak(capsys: pytest.CaptureFixture[str]) -> None:
    told = soak(12, 3, 120)
    with capsys.disabled():
        print(f"\nsoak: {told}")


CONTAINERS = int(os.environ.get("SOAK_CONTAINERS", "200"))
PLANTED = int(os.environ.get("SOAK_PLANTED", "10"))
SECONDS = 120 + 3 * CONTAINERS


@pytest.mark.long
@pytest.mark.timeout(2 * SECONDS)
def test_200_containers_and_10_planted_leaks(capsys: pytest.CaptureFixture[str]) -> None:
    """`make soak` asks for more of both."""
    told = soak(CONTAINERS, PLANTED, SECONDS)
    with capsys.disabled():
        print(f"\nsoak: {told}")
