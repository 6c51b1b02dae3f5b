"""What containers do to blind the service or to keep it from its work, and leaks beside them."""

from collections.abc import Iterator

import pytest

from tests.host.test_attacks import DETACHED, TOLD
from tests.siege.attackers import PRIVILEGED, attackers, prepare
from tests.siege.service import UNIT, Tenant, entries, in_words, measured
from tests.support.leaks import CONFIG
from tests.support.machine import Machine
from tests.support.wait import wait_until

pytestmark = [pytest.mark.siege, pytest.mark.timeout(240)]

LATER = 20.0
"""Seconds after the end of who kept an action back."""
REMOUNT = 'mount -t overlay overlay -o "lowerdir=$1/lower,upperdir=$1/upper,workdir=$1/work" "$1/merged"'


@pytest.fixture(scope="module")
def tenant(docker_host: Machine) -> Iterator[Tenant]:
    """On a host with Docker, Podman and the running service."""
    prepare(docker_host)
    docker_host.import_image("podman")
    made = Tenant(docker_host)
    docker_host.write("/etc/mountwarden/mountwarden.toml", CONFIG)
    docker_host.run("systemctl", "start", UNIT)
    yield made
    made.leave()


def test_a_container_that_sits_in_mountpoints_delays_their_detach_alone_until_it_ends(tenant: Tenant) -> None:
    """It has the host's / and a namespace of its own, in which a layer that the host mounts later is a directory."""
    host = tenant.host
    (held,) = tenant.mount()
    host.run("umount", held)
    with attackers(host) as gang:
        gang.in_container("docker", "sit_in_mountpoints", "all")
        host.run("sh", "-ec", REMOUNT, "sh", held.removesuffix("/merged"))
        tenant.seen()
        tenant.leak(held, "held")
        done = tenant.await_end(tenant.plant("other"))
        (told,) = wait_until(lambda: _declined(host, held), 30, "it is declined")
        assert "(sleep, cwd)" in told
    ended = host.run("date", "+%s.%N").stdout
    tenant.await_end(held)
    waited = tenant.planted[held] + tenant.delays()[held].acted - float(ended)
    print(f"beside it: {in_words([done])}; what it kept back: detached {waited:.2f} s after its end")
    assert done.found < TOLD
    assert done.acted < DETACHED
    assert waited < LATER


def _declined(host: Machine, mountpoint: str) -> list[str]:
    return [
        entry["MESSAGE"]
        for entry in entries(host)
        if entry["MOUNTWARDEN_EVENT"] in ("declined", "failed") and entry["MOUNTWARDEN_MOUNTPOINT"] == mountpoint
    ]


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_a_privileged_container_that_mounts_as_fast_as_it_can(tenant: Tenant, engine: str) -> None:
    host = tenant.host
    with measured(host) as cost, attackers(host) as gang:
        gang.in_container(engine, "mount_fast", flags=PRIVILEGED)
        delays = [tenant.await_end(tenant.plant(f"{engine}{number}")) for number in range(5)]
        print(f"{engine}: {in_words(delays)}; {cost}")
        assert max(one.found for one in delays) < TOLD
        assert max(one.acted for one in delays) < DETACHED
        cost.check()
        assert {one["MOUNTWARDEN_MOUNTPOINT"] for one in entries(host, "found")} <= tenant.planted.keys()
