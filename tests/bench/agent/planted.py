"""Leaks that are planted while containers come and go, and how soon the service has said so in the journal."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.support.leaks import Leaks
from tests.support.machine import Machine

LIVES = 0.8
"""Seconds that a layer is still mounted at home once its leak is there."""
PAUSE = 1.0
BIND = """
mkdir -p /mnt/"$1"
mount --bind "$2"/merged /mnt/"$1"
mount --make-private /mnt/"$1"
: > /run/"$1"
exec sleep infinity
"""


def private_unit(host: Machine, name: str, layer: str) -> str:
    """A unit with copies of all mounts, which no umount reaches."""
    return host.unit(name, "PrivateTmp=yes", "MountFlags=private")


def private_bind(host: Machine, name: str, layer: str) -> str:
    """A process in a mount namespace of its own that has the layer bound elsewhere, where no umount reaches it."""
    shell = ("unshare", "--mount", "--propagation", "slave", "sh", "-ec", BIND, "sh", name, layer)
    unit = host.unit(name, command=shell)
    host.run("sh", "-c", f"until [ -e /run/{name} ]; do sleep 0.05; done")
    return unit


KINDS: Mapping[str, Callable[[Machine, str, str], str]] = {"unit": private_unit, "bind": private_bind}


@dataclass(slots=True)
class Planted:
    """The leaks of one run; all of them stay until its end."""

    host: Machine
    name: str
    units: list[str] = field(default_factory=list)
    gone: dict[str, float] = field(default_factory=dict)
    """By mountpoint: when home unmounted it, in seconds since the Epoch."""

    def plant(self, each: int) -> None:
        """So many of each kind, one after the other."""
        layers = Leaks(self.host)
        layers.prepare()
        for number in range(each):
            for kind, leak in KINDS.items():
                layer = layers.mount()
                self.units.append(leak(self.host, f"{self.name}-{kind}-{number}", layer))
                time.sleep(LIVES)
                point = f"{layer}/merged"
                self.gone[point] = float(self.host.run("sh", "-c", f"umount {point} && date +%s.%N").stdout)
                time.sleep(PAUSE)

    def found(self, patience: float) -> list[float]:
        """Seconds from each umount to its entry, infinite where there is none so many seconds after the last umount."""
        until = max(self.gone.values()) + patience
        while math.inf in (seconds := self._seconds()) and time.time() < until:
            time.sleep(1)
        return seconds

    def _seconds(self) -> list[float]:
        entries = self.host.journal("-t", "mountwarden", "MOUNTWARDEN_EVENT=found")
        said: dict[str, float] = {}
        for entry in entries:
            said.setdefault(entry.get("MOUNTWARDEN_MOUNTPOINT", ""), int(entry["__REALTIME_TIMESTAMP"]) / 1e6)
        return [said.get(point, math.inf) - at for point, at in self.gone.items()]

    def end(self) -> None:
        """Stop those that hold them."""
        if self.units:
            self.host.run("systemctl", "stop", *self.units)
            self.units.clear()


def lost(seconds: Sequence[float]) -> int:
    """How many were never reported."""
    return sum(math.isinf(one) for one in seconds)
