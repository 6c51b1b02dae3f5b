"""What ordinary users do to blind the service, and a leak of somebody else beside it: told in 3 s, detached in 5 s."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.host.test_agent import Service
from tests.siege.attackers import Attackers, attackers, prepare
from tests.siege.service import Cost, Tenant, entries, in_words, measured, owned_gaps
from tests.support.leaks import ROOT
from tests.support.machine import Machine
from tests.support.wait import wait_until

TOLD, DETACHED = 3.0, 5.0
"""Seconds from the umount."""


LATER = 15.0
"""Seconds for what the attackers hold themselves, up to hundreds of copies."""


@dataclass(frozen=True, slots=True)
class Attack:
    """Programs of tests/siege/attacks that run at once, each as "user name options"."""

    name: str
    programs: tuple[str, ...]
    layers: int = 0
    """How many layers are mounted when it begins and unmounted when it is there, so that its namespaces leak them."""
    leaks: int = 5
    """How many leaks of somebody else are planted beside it."""
    over: bool = False
    """Whether it is more than an owner may have, so that the report has to say what it leaves out."""

    def __str__(self) -> str:
        return self.name


SHORT = (
    Attack("32 MiB of newlines", ("alice long_lines",), leaks=1),
    Attack("180 MiB of candidates", ("bob long_lines --namespaces 6 --depth 200 --name shm",), leaks=1),
    Attack("its only process forks and exits", ("alice forking",), layers=1, leaks=1),
)
LONG = (
    Attack("32 MiB of newlines and 5 leaks", ("alice long_lines",)),
    Attack(
        "45,000 candidates of 4 KiB", ("bob long_lines --namespaces 6 --mounts 7500 --depth 2 --name shm",), over=True
    ),
    Attack("a GiB in one namespace", ("alice long_lines --mounts 1040 --depth 512",), over=True),
    Attack("1,500 namespaces by descriptor", ("alice by_descriptor",), layers=1),
    Attack("600 chrooted processes", ("bob chrooted",), layers=1),
    Attack("300 clones of the host's namespace", ("alice clones",), layers=40),
    Attack("1,000 clones of the host's namespace", ("alice clones --namespaces 1000",), layers=10),
    Attack("1,280 FUSE mounts on the host", ("alice fuse_mounts", "bob fuse_mounts")),
    Attack("5 namespaces whose only process forks and exits", ("alice forking --chains 5",), layers=5),
    Attack("20,000 mounts on one mountpoint", ("bob stack",), over=True),
    Attack("20,000 namespaces that come and go", ("alice come_and_go --most 20000",)),
    Attack("chrooted ones that come and go", ("alice come_and_go --chroot --pause 0.05 --at-once 20",)),
    Attack("200 owners of 5 MiB of candidates each", ("user owners",), over=True),
    Attack("claims of layers and netns files", ("alice claims --namespaces 10",)),
)


@pytest.fixture(scope="module")
def prepared(host: Machine) -> Machine:
    """The host with the attacks and the users."""
    prepare(host)
    return host


@pytest.fixture
def service(prepared: Machine) -> Iterator[Service]:
    made = Service(prepared)
    yield made
    made.reset()
    prepared.run("sh", "-c", f"umount -l {ROOT}; rmdir {ROOT}", check=False)


@pytest.fixture
def tenant(service: Service) -> Iterator[Tenant]:
    made = Tenant(service.host)
    yield made
    made.leave()


def stand(service: Service, tenant: Tenant, attack: Attack, gang: Attackers, cost: Cost) -> None:
    """Start the attack, plant leaks beside it, and judge what the service did."""
    theirs = tenant.mount(attack.layers)
    for program in attack.programs:
        gang.by_user(*program.split())
    if theirs:
        tenant.unmount(theirs)
    delays = [tenant.await_end(tenant.plant(f"tenant{number}")) for number in range(attack.leaks)]
    print(f"{attack}: {in_words(delays)}; {cost}")
    assert max(one.found for one in delays) < TOLD
    assert max(one.acted for one in delays) < DETACHED
    for mountpoint in theirs:
        assert tenant.await_end(mountpoint).acted < LATER
    cost.check()
    assert {one["MOUNTWARDEN_MOUNTPOINT"] for one in entries(service.host, "found")} <= tenant.planted.keys()
    if attack.over:
        wait_until(lambda: owned_gaps(service.host), 30, "the report says what it left out, and because of whom")


def named(service: Service, attack: Attack) -> set[str]:
    """Whom the report names because of what was left out; the journal names each once, and at once if it lasts."""
    owners = {gap["owner"] for gap in owned_gaps(service.host)}

    def times(owner: str) -> int:
        return sum(owner in entry["MESSAGE"] for entry in entries(service.host, "gap"))

    for owner in owners:
        if attack.over:
            wait_until(lambda: times(owner), 30, f"the journal names {owner}")  # noqa: B023
        assert times(owner) <= 1
    return owners


def run(service: Service, tenant: Tenant, attack: Attack) -> None:
    """All of it, to the end of the attackers."""
    service.start()
    with measured(service.host, len(attack.programs)) as cost, attackers(service.host) as gang:
        stand(service, tenant, attack, gang, cost)
        users = {f"user {uid}" for uid in (1000, 1001, 1002)}
        assert named(service, attack) <= users
        gang.end()
        wait_until(lambda: not owned_gaps(service.host), 90, "nothing is left out any more")
        cost.check()


@pytest.mark.parametrize("attack", SHORT, ids=str)
def test_a_leak_of_somebody_else_beside_an_attack(service: Service, tenant: Tenant, attack: Attack) -> None:
    run(service, tenant, attack)


@pytest.mark.siege
@pytest.mark.timeout(400)
@pytest.mark.parametrize("attack", LONG, ids=str)
def test_leaks_of_somebody_else_beside_a_long_attack(service: Service, tenant: Tenant, attack: Attack) -> None:
    run(service, tenant, attack)
