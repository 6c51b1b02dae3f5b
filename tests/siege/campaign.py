"""A siege: all attacks at once beside real containers, and leaks of another tenant spread over the time."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.siege.attackers import PRIVILEGED, USERS, Attackers, attackers, prepare
from tests.siege.service import MEMORY_AIM, UNIT, Cost, Tenant, entries, measured, owned_gaps, taken
from tests.support.leaks import CONFIG
from tests.support.machine import Machine
from tests.support.product import install_product
from tests.support.wait import wait_until

LATE = 10.0
"""Seconds after the umount within which each leak is to be reported and detached."""

BY_USERS = (
    ("bob", "clones", "", "--namespaces 300", "--namespaces 30"),
    ("bob", "chrooted", "", "--namespaces 600", "--namespaces 60"),
    ("alice", "by_descriptor", "", "--namespaces 1500", "--namespaces 150"),
    ("alice", "long_lines", "newlines", "", ""),
    ("bob", "long_lines", "needles", "--namespaces 6 --mounts 7500 --depth 2 --name shm", "--mounts 2000 --name shm"),
    ("alice", "long_lines", "gib", "--mounts 1040 --depth 512", "--mounts 260 --depth 512"),
    ("user", "owners", "", "--owners 200", "--owners 20"),
    ("user", "claims", "", "--namespaces 10", "--namespaces 2 --mounts 100"),
    ("user", "forking", "", "--chains 2", "--chains 1"),
    ("bob", "stack", "", "--mounts 20000", "--mounts 4000"),
    ("alice", "come_and_go", "", "--pause 0.01", "--pause 0.01"),
    ("user", "come_and_go", "jails", "--chroot --pause 0.1 --at-once 10", "--chroot --pause 0.1 --at-once 10"),
    ("alice", "fuse_mounts", "", "--mounts 640", "--mounts 40"),
    ("bob", "fuse_mounts", "", "--mounts 640", "--mounts 40"),
)
"""User, attack, a name where it is started twice, options for all of it and for a short siege."""

IN_CONTAINERS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("docker", "sit_in_mountpoints", ()),
    ("docker", "mount_fast", PRIVILEGED),
    ("podman", "mount_fast", PRIVILEGED),
)

LOAD = """seq {count} | xargs -P 4 -I N docker run -d --name=load-N --network=none bb sleep 1000000 >/dev/null"""
CHURN = "while :; do docker run --rm --network=none bb sleep 1; sleep 5; done"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the result."""

    what: str
    aim: str
    measured: str
    met: bool


@dataclass
class Siege:
    """One siege. `rows` is the result, after `run`."""

    seconds: float
    containers: int
    leaks: int
    whole: bool = True
    """Whether the attacks are as large as they can be; else a tenth."""
    say: Callable[[str], None] = print
    rows: list[Row] = field(default_factory=list)

    @property
    def met(self) -> bool:
        """Whether all aims were."""
        return all(row.met for row in self.rows)

    def run(self) -> None:
        """All of it, from the boot of the host to its end."""
        began = time.monotonic()
        with Machine() as host:
            install_product(host)
            self._prepare(host)
            self.say(f"{time.monotonic() - began:.0f} s: {self.containers} containers run")
            with measured(host, len(USERS) + len(IN_CONTAINERS)) as cost, attackers(host) as gang:
                tenant = Tenant(host)
                with self._attacked(gang):
                    self.say(f"{time.monotonic() - began:.0f} s: all attacks have begun")
                    self._plant(tenant)
                    self._judge(tenant, gang, cost)
                self.say(f"{time.monotonic() - began:.0f} s: the attackers are gone")
                self._after(host, cost)

    def _prepare(self, host: Machine) -> None:
        prepare(host)
        host.start_docker()
        host.import_image("docker")
        host.import_image("podman")
        Tenant(host)  # with the root that the service is told of
        host.write("/etc/mountwarden/mountwarden.toml", CONFIG)
        host.run("systemctl", "start", UNIT)
        host.run("sh", "-ec", LOAD.format(count=self.containers), timeout=60 + 3 * self.containers)
        host.run("systemd-run", "--quiet", "--unit=churn", "sh", "-c", CHURN)

    @contextlib.contextmanager
    def _attacked(self, gang: Attackers) -> Iterator[None]:
        for engine, script, flags in IN_CONTAINERS:
            gang.in_container(engine, script, flags=flags)
        for user, attack, name, full, short in BY_USERS:
            gang.by_user(user, attack, *(full if self.whole else short).split(), name=name, wait=False)
        try:
            yield
        finally:
            gang.end()

    def _plant(self, tenant: Tenant) -> None:
        """The leaks, one after the other, as far from each other as the time allows."""
        began = time.monotonic()
        for number in range(self.leaks):
            due = began + (self.seconds - LATE) * number / max(self.leaks - 1, 1)
            time.sleep(max(0.0, due - time.monotonic()))
            tenant.plant(f"tenant{number}", patience=120)
            self.say(f"{time.monotonic() - began:.0f} s: leak {number + 1} of {self.leaks}")
        time.sleep(max(LATE, began + self.seconds - time.monotonic()))

    def _judge(self, tenant: Tenant, gang: Attackers, cost: Cost) -> None:
        host, delays = tenant.host, tenant.delays()
        on_time = [one for one in delays.values() if max(one.found, one.acted) <= LATE]
        told = entries(host, "found")
        false = [one for one in told if one["MOUNTWARDEN_MOUNTPOINT"] not in tenant.planted]
        self._row("leaks reported and detached", str(self.leaks), str(len(delays)), len(delays) == self.leaks)
        self._row(f"within {LATE:g} s of the umount", str(self.leaks), str(len(on_time)), len(on_time) == self.leaks)
        for what in ("found", "acted"):
            values = sorted(getattr(one, what) for one in delays.values())
            text = f"median {values[len(values) // 2]:.2f} s, worst {values[-1]:.2f} s" if values else "none"
            self._row(f"from the umount to `{what}`", f"{LATE:g} s", text, bool(values) and values[-1] <= LATE)
        for place in tenant.planted.keys() - delays.keys():
            said = [one["MESSAGE"] for one in entries(host) if one.get("MOUNTWARDEN_MOUNTPOINT") == place]
            self.say("\n  ".join([f"{place} was not ended:", *(said or ["the journal has nothing of it"])]))
        words = "; ".join(sorted({f"{one['MOUNTWARDEN_KIND']} {one['MOUNTWARDEN_MOUNTPOINT']}" for one in false})[:5])
        self._row("false findings", "0", words or "0", not false)
        self._costs(cost)
        gone = gang.ended()
        for name in gone:
            self.say(host.run("journalctl", "--quiet", "--no-pager", "-n", "12", "-u", name, check=False).stdout)
        self._row("attackers that gave up", "0", ", ".join(gone) or "0", not gone)
        owners = sorted({gap["owner"] for gap in owned_gaps(host)})
        self._row("owners named for what was left out", "", ", ".join(owners)[:200] or "none", True)

    def _costs(self, cost: Cost) -> None:
        seconds = time.monotonic() - cost.began
        self._row("restarts of the service", "0", str(cost.restarts), cost.restarts == 0)
        for what, value in (("resident in its main process", cost.resident), ("charged to its group", cost.charged)):
            self._row(f"memory {what}, at most", f"{MEMORY_AIM} MiB", f"{value:.0f} MiB", value < MEMORY_AIM)
        aim = f"{cost.allowed:.1f} s ({100 * cost.allowed / seconds:.1f} % of a core)"
        text = f"{cost.used:.1f} s ({100 * cost.used / seconds:.1f} % of a core)"
        self._row(f"processor time in {seconds:.0f} s", aim, text, cost.used < cost.allowed)

    def _after(self, host: Machine, cost: Cost) -> None:
        """The service forgets the attackers when they are gone."""
        ended = time.time()
        with contextlib.suppress(AssertionError):
            wait_until(lambda: taken(host) > ended and not owned_gaps(host), 120)
        left = owned_gaps(host)
        text = ", ".join(sorted({gap["owner"] for gap in left})) or f"0 after {time.time() - ended:.0f} s"
        self._row("owners named once the attackers are gone", "0", text, not left)
        self._row("restarts after that", "0", str(cost.restarts), cost.restarts == 0)

    def _row(self, what: str, aim: str, measured: str, met: bool) -> None:
        self.rows.append(Row(what, aim, measured, met))
