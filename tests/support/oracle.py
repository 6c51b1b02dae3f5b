"""Tells by its own reading of the kernel's tables what is leaked on a test host. It shares no code with the product."""

from dataclasses import dataclass, field

from tests.support.machine import Machine


def mounted(host: Machine, pid: int | str) -> dict[str, str]:
    """Mount point to device, of a process's namespace; empty when it has ended."""
    text = host.run("sh", "-c", f"cat /proc/{pid}/mountinfo 2>/dev/null || true").stdout
    return {line.split()[4]: line.split()[2] for line in text.splitlines()}


@dataclass
class Planted:
    """A leak that the test made: where it was mounted, in which unit a copy stayed, and what the directory was."""

    mountpoint: str
    unit: str
    device: str
    directory: str


@dataclass
class Oracle:
    """Plants leaks below a directory, and knows what the truth is."""

    host: Machine
    base: str
    planted: list[Planted] = field(default_factory=list)

    def mount(self, name: str) -> str:
        """A new overlay; returns its mountpoint."""
        layer = f"{self.base}/{name}"
        options = f"lowerdir={layer}/lower,upperdir={layer}/diff,workdir={layer}/work"
        made = f"mkdir -p {layer}/lower {layer}/diff {layer}/work {layer}/merged && chmod 710 {layer}/merged"
        self.host.run("sh", "-c", f"{made} && mount -t overlay planted -o {options} {layer}/merged")
        return f"{layer}/merged"

    def leak(self, mountpoint: str, unit: str, *properties: str) -> None:
        """Start a unit that takes a copy, unmount at home without removing the directory, and see that it is a leak."""
        unit = self.host.unit(unit, *properties)
        device = mounted(self.host, 1)[mountpoint]
        self.host.run("umount", mountpoint)
        assert mounted(self.host, self.host.main_pid(unit)).get(mountpoint) == device, "the unit kept its copy"
        assert mountpoint not in mounted(self.host, 1), "and home has none"
        self.planted.append(Planted(mountpoint, unit, device, self.directory(mountpoint)))

    def directory(self, path: str) -> str:
        """What must be the same after a detach: mode, owner and number of entries."""
        return self.host.run("sh", "-c", f"stat -c '%a %u %g' {path}; ls -A {path} | wc -l").stdout

    def still_leaked(self) -> list[str]:
        """Units and mountpoints of planted leaks that are there now."""
        return [
            f"{one.unit}: {one.mountpoint}"
            for one in self.planted
            if mounted(self.host, self.host.main_pid(one.unit)).get(one.mountpoint) == one.device
        ]

    def other_leaks(self) -> list[str]:
        """Mounts on layers of docker's that some process shows, PID 1 does not, and that nobody planted."""
        script = "cat /proc/[0-9]*/mountinfo 2>/dev/null | cut -d' ' -f5 | sort -u | grep 'overlay2/.*/merged$' || true"
        shown = set(self.host.run("sh", "-c", script).stdout.split())
        return sorted(shown - mounted(self.host, 1).keys() - {one.mountpoint for one in self.planted})
