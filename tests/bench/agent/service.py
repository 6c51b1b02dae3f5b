"""The running service on a test host: started on a tier, and what it uses."""

import time

from tests.bench.agent.hosts import Crowd
from tests.support.machine import Machine
from tests.support.wait import wait_until

UNIT = "mountwarden.service"
CPU = f"/sys/fs/cgroup/system.slice/{UNIT}/cpu.stat"


def start(host: Machine, tier: str, *options: str) -> None:
    """Start the service anew on that tier, and wait until its first scan is done."""
    command = " ".join(["/usr/local/bin/mountwarden agent --tier", tier, *options])
    host.write(f"/etc/systemd/system/{UNIT}.d/tier.conf", f"[Service]\nExecStart=\nExecStart={command}\n")
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "restart", UNIT)
    asked = ("mountwarden", "status", "--json")
    wait_until(lambda: f'"tier": "{tier}"' in host.run(*asked, check=False).stdout, 60, "it has scanned")


def stop(host: Machine) -> None:
    """Stop it; what it remembers stays."""
    host.run("systemctl", "stop", UNIT)


def used(host: Machine) -> float:
    """Processor seconds of the service and all it started."""
    fields = dict(line.split() for line in host.read(CPU).splitlines())
    return int(fields["usage_usec"]) / 1e6


def resident(host: Machine) -> float:
    """MiB in memory of its main process."""
    text = host.read(f"/proc/{host.main_pid(UNIT)}/status")
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS:")).split()[1]) / 1024


class Share:
    """What the service uses of a core from here on."""

    def __init__(self, host: Machine) -> None:
        self._host = host
        self._used, self._clock = used(host), time.monotonic()

    def percent(self) -> float:
        """Until now."""
        spent, seconds = used(self._host) - self._used, time.monotonic() - self._clock
        return spent / seconds * 100


def shares(crowds: list[Crowd], seconds: float) -> list[float]:
    """The same of several hosts over the same time."""
    begun = [Share(crowd.host) for crowd in crowds]
    time.sleep(seconds)
    return [share.percent() for share in begun]
