"""Test hosts that are crowded: many mount namespaces with many mounts each, the product installed."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.leaks import CONFIG
from tests.support.machine import Machine
from tests.support.product import LIBRARY, install_product

HERE = Path(__file__).parent
PYTHON = "/usr/bin/python3"
TOOLS = "/root/bench"
EXTRAS = ("bench",)


@dataclass(frozen=True, slots=True)
class Crowd:
    """A booted test host with so many further namespaces of so many further mounts."""

    host: Machine
    namespaces: int
    mounts: int

    def tool(self, name: str, *args: str, input: str = "", timeout: float = 1200) -> str:
        """Run one of the scripts that are copied to the host; what it printed."""
        path = {"PYTHONPATH": LIBRARY}
        return self.host.run(PYTHON, f"{TOOLS}/{name}.py", *args, input=input, timeout=timeout, env=path).stdout

    def turns(self, commands: Mapping[str, Sequence[str]], rounds: int) -> dict[str, list[tuple[float, float]]]:
        """Wall and processor seconds of each command, in turns."""
        text = self.tool("turns", str(rounds), input=json.dumps(commands))
        return {name: [(wall, cpu) for wall, cpu in pairs] for name, pairs in json.loads(text).items()}


@contextlib.contextmanager
def crowded(namespaces: int, mounts: int) -> Iterator[Crowd]:
    """Boot the host, install the product, and make its crowd."""
    with Machine(extras=EXTRAS) as host:
        install_product(host)
        host.copy_in(HERE, TOOLS)
        host.write("/etc/mountwarden/mountwarden.toml", CONFIG)
        crowd = Crowd(host, namespaces, mounts)
        service = ["systemd-run", "--quiet", "--unit=crowd", "-p", "TasksMax=infinity"]
        settings = ["-p", f"Environment=PYTHONPATH={LIBRARY}", "-p", "StandardOutput=file:/run/crowd"]
        host.run(*service, *settings, PYTHON, f"{TOOLS}/crowd.py", str(namespaces), str(mounts))
        wait = "until grep -q ready /run/crowd; do systemctl is-active --quiet crowd || exit 1; sleep 0.1; done"
        host.run("sh", "-c", wait, timeout=600)
        yield crowd
