"""Who owns home's mounts on the spots of all layouts, as engines' modules prove it on a test host."""

import json
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from tests.support.shell import Shell

_CODE = """
import json, os, sys, time
from dataclasses import asdict, replace
from mountwarden.config.schema import Config
from mountwarden.engines import COMMANDS, Host, discover
from mountwarden.engines.ownership import owners
from mountwarden.model import Layout, Root, RootKind
from mountwarden.mounts.roots import root_state
from mountwarden.mounts.table import Table
from mountwarden.observe import processes

older_than, more = float(sys.argv[1]), json.loads(sys.argv[2])
host = Host()
watch = processes.DaemonWatch(COMMANDS)
for _ in range(2):
    host.update(watch.update(processes.pids()))
roots, gaps = discover(host, Config())
home = os.stat("/proc/self/ns/mnt").st_ino
for engine, path, pattern in more:
    extra = (Layout(pattern.encode(), None),)
    own = host.of(engine)
    known = [root for root in roots if root.path == path.encode()]
    if known:
        roots = [replace(root, layout=root.layout + extra) if root in known else root for root in roots]
    else:
        roots.append(Root(path.encode(), engine, RootKind.GRAPH, extra, own[0].namespace if own else None, bool(own)))
states = []
for root in roots:
    pid = root.home_pid or os.getpid()
    states.append(root_state(root, Table.from_text(processes.read(f"/proc/{pid}/mountinfo")), root.home or home))
pairs = [(state.matches[spot], mount) for state in states for spot, mounts in state.live.items() for mount in mounts]
began = time.monotonic()
found = owners(host, states, pairs, older_than=older_than)
took = time.monotonic() - began
answers = {os.fsdecode(match.mountpoint): asdict(one) for (match, _), one in zip(pairs, found, strict=True)}
print(json.dumps({"answers": answers, "took": took, "gaps": [repr(gap) for gap in gaps]}))
"""

Extra = tuple[str, str, str]
"""A layout that a test adds: its engine, the root, the pattern."""


class Owned(NamedTuple):
    """One mount's answer."""

    state: str
    left: str | None
    proof: str
    frees: str


_UNIT = "mountwarden-owners.service"
_SCRIPT, _ANSWER = "/root/owners.py", "/root/owners.json"
_OTHERS = ("Type=", "Exec", "Restart", "WatchdogSec=", "RuntimeDirectory", "TimeoutStartSec=")
"""Lines of the service's unit that do not limit it."""


def _in_unit(host: Shell, *arguments: str) -> str:
    """The answer of the code as a unit that is limited as the service is."""
    service = host.read("/etc/systemd/system/mountwarden.service").split("[Service]")[1].split("[Install]")[0]
    lines = [line for line in service.splitlines() if not line.startswith(_OTHERS)]
    host.write(_SCRIPT, f"import sys\nsys.argv[1:] = {list(arguments)!r}\n{_CODE}")
    own = ("Type=oneshot", f"ExecStart=/usr/bin/python3 {_SCRIPT}", f"StandardOutput=truncate:{_ANSWER}")
    path = "Environment=PYTHONPATH=/usr/local/lib/mountwarden"
    host.write(f"/run/systemd/system/{_UNIT}", "\n".join(["[Service]", *lines, *own, path]))
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "start", _UNIT)
    return host.read(_ANSWER)


class Owners(Mapping[str, Owned]):
    """By the mountpoint; `took` is the seconds that it took to ask."""

    def __init__(self, host: Shell, *more: Extra, older_than: float = 0.0, as_service: bool = False) -> None:
        """`as_service`: with what the service's unit allows, and no more."""
        arguments = str(older_than), json.dumps(more)
        text = _in_unit(host, *arguments) if as_service else host.python(_CODE, *arguments).stdout
        done = json.loads(text)
        self._answers = {point: Owned(**answer) for point, answer in done["answers"].items()}
        self.took: float = done["took"]

    def __getitem__(self, point: str) -> Owned:
        return self._answers[point]

    def __iter__(self) -> Iterator[str]:
        return iter(self._answers)

    def __len__(self) -> int:
        return len(self._answers)

    @property
    def gone(self) -> list[str]:
        """The mountpoints of what is abandoned."""
        return sorted(point for point, one in self._answers.items() if one.state == "gone")
