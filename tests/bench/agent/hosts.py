"""Test hosts that are crowded: many mount namespaces with many mounts each, the product installed."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.leaks import CONFIG
from tests.support.machine import Machine
from tests.support.product import LIBRARY, PROJECT, install_product

HERE = Path(__file__).parent
PYTHON = "/usr/bin/python3"
TOOLS = "/root/bench"
PATH = {"PYTHONPATH": f"{TOOLS}:{LIBRARY}"}
"""Of the scripts on a host, which use system calls as this checkout has them."""
MEASURED = {"PYTHONPATH": f"{LIBRARY}:{TOOLS}"}
"""Of those that measure the product itself."""
EXTRAS = ("bench",)


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of a command took, with all that it started."""

    wall: float
    """Seconds."""
    cpu: float
    """Processor seconds."""
    peak: float
    """MiB in memory at most, of the largest of its processes."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """A booted test host with so many further namespaces of so many further mounts."""

    host: Machine
    namespaces: int
    mounts: int

    @property
    def size(self) -> str:
        """As a heading says it."""
        return f"{self.namespaces:,} x {self.mounts:,}"

    def command(self, name: str, *args: str) -> list[str]:
        """The command that runs one of the scripts that are copied to the host."""
        return [PYTHON, "-m", f"tests.bench.agent.{name}", *args]

    def tool(self, name: str, *args: str, input: str = "", env: Mapping[str, str] = PATH) -> str:
        """Run one of these scripts; what it printed."""
        return self.host.run(*self.command(name, *args), input=input, timeout=1200, env=env).stdout

    def turns(self, commands: Mapping[str, Sequence[str]], rounds: int) -> dict[str, list[Run]]:
        """Runs of each command, in turns."""
        text = self.tool("turns", str(rounds), input=json.dumps(commands))
        return {name: [Run(*one) for one in runs] for name, runs in json.loads(text).items()}

    def use_tier(self, tier: str) -> None:
        """Have commands use it where they are told nothing else."""
        self.host.write("/etc/mountwarden/mountwarden.toml", f'tier = "{tier}"\n{CONFIG}')

    def add(self, unit: str, namespaces: int, mounts: int, *options: str) -> None:
        """A unit that has so many further mounts and namespaces made, see `crowd`."""
        service = ["systemd-run", "--quiet", f"--unit={unit}", "-p", "TasksMax=infinity"]
        settings = ["-p", f"Environment=PYTHONPATH={PATH['PYTHONPATH']}", "-p", f"StandardOutput=file:/run/{unit}"]
        self.host.run(*service, *settings, *self.command("crowd", str(namespaces), str(mounts), *options))
        wait = f"until grep -q ready /run/{unit}; do systemctl is-active --quiet {unit} || exit 1; sleep 0.1; done"
        self.host.run("sh", "-c", wait, timeout=600)


@dataclass(frozen=True, slots=True)
class Bench:
    """How the parts are to be measured."""

    tiers: Sequence[str]
    """Those that work here, the text of mountinfo first."""
    quick: bool = False
    """Small hosts and few rounds: to see that all of it runs."""
    checkout: Path = PROJECT
    """Whose product is measured."""
    sizes: tuple[int, int] | None = None
    """Namespaces and mounts of the usual host, where others are asked for."""

    def few(self, quick: int, whole: int) -> int:
        """One of two numbers."""
        return quick if self.quick else whole

    @property
    def target(self) -> tuple[int, int]:
        """Namespaces and mounts of the usual host."""
        return self.sizes or ((10, 100) if self.quick else (100, 500))

    @property
    def large(self) -> tuple[int, int]:
        """The same of the large one."""
        return (20, 200) if self.quick else (400, 1000)

    @contextlib.contextmanager
    def crowd(self, namespaces: int, mounts: int, *options: str) -> Iterator[Crowd]:
        """Boot a host, install the product, and make its crowd."""
        with Machine(extras=EXTRAS) as host:
            install_product(host, self.checkout)
            host.copy_in(HERE, f"{TOOLS}/tests/bench/agent")
            host.copy_in(PROJECT / "agent/mountwarden", f"{TOOLS}/mountwarden")
            host.write("/etc/mountwarden/mountwarden.toml", CONFIG)
            crowd = Crowd(host, namespaces, mounts)
            crowd.add("crowd", namespaces, mounts, *options)
            yield crowd
