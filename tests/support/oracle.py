"""Plants leaks on a test host and tells, by its own reading of the kernel's tables, what is leaked there.

It shares no code with the product.
"""

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.machine import Machine
from tests.support.wait import wait_until

CENSUS = "/usr/local/lib/census.py"
WATCH = "/tmp/orphans.json"
LASTING = 1.0
"""Seconds after which an orphan is a leak: an engine unmounts and removes its directory at once."""

DOCKER = "/var/lib/docker/overlay2"
CUSTOM = "/srv/layers"

KINDS = (
    (DOCKER, ("MountFlags=private",)),
    (CUSTOM, ("PrivateTmp=yes", "MountFlags=private")),
    (DOCKER, ("MountFlags=private", "BindPaths={layer}:/watch")),
    (CUSTOM, "unshare"),
    (DOCKER, ("PrivateTmp=yes", "MountFlags=private")),
    (CUSTOM, "container"),
)
"""Where a leak is planted, and who holds it: a unit of these settings, one that unshares, a container with a bind."""


@dataclass
class Planted:
    """A leak that was made: where, who holds it, in which namespaces it was seen, when, and what the directory was."""

    mountpoint: str
    upper: str
    holder: str
    namespaces: frozenset[str]
    at: float
    directory: str


@dataclass
class Oracle:
    """Plants leaks of all kinds in turn, and knows what the truth is."""

    host: Machine
    planted: list[Planted] = field(default_factory=list)

    def start(self) -> None:
        """Watch from now on."""
        self.host.copy_in(Path(__file__).with_name("census.py"), CENSUS)
        self.host.run("systemd-run", "--unit=census", "/usr/bin/python3", CENSUS, "watch", WATCH)

    def mount(self, number: int) -> str:
        """A new overlay for the leak of that number; returns its mountpoint."""
        layer = f"{KINDS[number % len(KINDS)][0]}/planted{number}"
        options = f"lowerdir={layer}/lower,upperdir={layer}/diff,workdir={layer}/work"
        made = f"mkdir -p {layer}/lower {layer}/diff {layer}/work {layer}/merged && chmod 710 {layer}/merged"
        owned = f"chown 100000:100001 {layer}/merged && setfattr -n trusted.own -v {number} {layer}/merged"
        owned = owned if number % 2 else "true"
        self.host.run("sh", "-c", f"{made} && {{ {owned}; }} && mount -t overlay planted -o {options} {layer}/merged")
        return f"{layer}/merged"

    def leak(self, number: int, mountpoint: str) -> None:
        """Let a holder take a copy, unmount at home without removing the directory, and see that it is a leak."""
        layer = os.path.dirname(mountpoint)
        upper = f"{layer}/diff"
        pid, holder = self._hold(number, layer)
        inode = self.host.run("stat", "-Lc", "%i", f"/proc/{pid}/ns/mnt").stdout.strip()
        wait_until(
            lambda: f"upperdir={upper}," in self.host.read(f"/proc/{pid}/mountinfo"), 10, "the holder has a copy"
        )
        assert upper not in {one[1] for one in self.orphans()}, "home has it: no leak yet"
        at = time.time()
        self.host.run("umount", mountpoint)
        seen = frozenset(namespace for namespace, of, _point in self.orphans() if of == upper)
        assert inode in seen, f"{holder} kept a copy that home has no longer"
        self.planted.append(Planted(mountpoint, upper, holder, seen, at, self.directory(mountpoint)))

    def _hold(self, number: int, layer: str) -> tuple[int, str]:
        """Start a holder; returns a process of its namespace and its name."""
        name, how = f"planted{number}", KINDS[number % len(KINDS)][1]
        if how == "container":
            bind = ("-v", f"{CUSTOM}:/data")
            self.host.docker("run", "-d", f"--name={name}", "--network=none", *bind, "bb", "sleep", "100000")
            return int(self.host.docker("inspect", "-f", "{{.State.Pid}}", name).stdout), f"container {name}"
        if how == "unshare":
            command = ("unshare", "--mount", "--propagation", "private", "sleep", "infinity")
            unit = self.host.unit(name, command=command)
            pid = self.host.main_pid(unit)
            own = f"[ $(readlink /proc/{pid}/ns/mnt) != $(readlink /proc/1/ns/mnt) ]"
            wait_until(lambda: self.host.run("sh", "-c", own, check=False).returncode == 0, 30, "it has unshared")
            return pid, unit
        unit = self.host.unit(name, *(text.format(layer=layer) for text in how))
        return self.host.main_pid(unit), unit

    def directory(self, path: str) -> str:
        """What must be the same after a detach: mode, owner, extended attributes and entries."""
        script = 'stat -c "%F %a %u %g" "$1"; getfattr -d -m - "$1" 2>/dev/null; ls -A "$1"'
        return self.host.run("sh", "-c", script, "sh", path).stdout

    def orphans(self) -> list[tuple[str, str, str]]:
        """(namespace, upper directory, where) of all overlays that are mounted somewhere but not at home, now."""
        return [tuple(one) for one in json.loads(self.host.run("/usr/bin/python3", CENSUS, "once").stdout)]

    def still_leaked(self) -> list[tuple[str, str, str]]:
        """What of the planted is there now."""
        uppers = {one.upper for one in self.planted}
        return [one for one in self.orphans() if one[1] in uppers]

    def stop(self) -> tuple[int, list[tuple[str, str, str, float]]]:
        """End the watch: how often it read, and the leaks that lasted and that nobody planted."""
        self.host.run("systemctl", "stop", "census")
        seen = json.loads(self.host.read(WATCH))
        uppers = {one.upper for one in self.planted}
        return seen["looks"], [tuple(one) for one in seen["orphans"] if one[1] not in uppers and one[3] >= LASTING]
