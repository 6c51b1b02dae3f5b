"""Real leaks on a test host: overlays below a root of the configuration, left behind in a unit's private namespace."""

import itertools
from dataclasses import dataclass, field

from tests.support.machine import Machine

ROOT = "/srv/layers"
CONFIG = f"""
[[root]]
path = "{ROOT}"
kind = "graph"
"""
OBSERVE = 'mode = "observe"\n' + CONFIG

_MOUNT = """
set -e
mkdir -p "$1" "$1/lower" "$1/upper" "$1/work" "$1/merged"
mount -t overlay overlay -o "lowerdir=$1/lower,upperdir=$1/upper,workdir=$1/work" "$1/merged"
"""


_numbers = itertools.count(1)
"""Namespace inodes are used again at once: a layer's name must not be, or two leaks would have one id."""


@dataclass
class Leaks:
    """Makes and ends them. The root is a file system in memory, as an overlay needs on a test host."""

    host: Machine
    units: set[str] = field(default_factory=set)

    def prepare(self) -> None:
        """Make the root; again is harmless."""
        self.host.run("sh", "-c", 'mkdir -p "$1" && { mountpoint -q "$1" || mount -t tmpfs layers "$1"; }', "sh", ROOT)

    def mount(self) -> str:
        """Mount a new layer; returns its directory."""
        layer = f"{ROOT}/{next(_numbers)}"
        self.host.run("sh", "-c", _MOUNT, "sh", layer)
        return layer

    def leak(self, layer: str, unit: str) -> str:
        """Start a unit that keeps a copy of what is mounted, then unmount the layer at home without an rmdir."""
        name = self.host.unit(unit, "PrivateTmp=yes", "MountFlags=private")
        self.units.add(name)
        self.host.run("umount", f"{layer}/merged")
        return name

    def make(self, unit: str) -> tuple[str, str]:
        """A new leak: (mountpoint, unit)."""
        layer = self.mount()
        return f"{layer}/merged", self.leak(layer, unit)

    def end(self, unit: str) -> None:
        """Stop a holder: its copies go with its namespace."""
        self.units.discard(unit)
        self.host.run("systemctl", "stop", unit)

    def clean(self) -> None:
        """Stop all holders."""
        for unit in tuple(self.units):
            self.end(unit)
