"""Who attacks: programs of `tests/siege/attacks`, as units of ordinary users of a test host, or in its containers."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.machine import Machine
from tests.support.wait import wait_until

PLACE = "/opt/siege"
LAUNCHER = f"""#!/usr/bin/python3 -I
import runpy, sys
sys.path.insert(0, {PLACE!r})
runpy.run_module("tests.siege.attacks." + sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""
USERS = {"user": 1000, "alice": 1001, "bob": 1002}
"""Ordinary users: the first one is there, and has subordinate ids."""

PRIVILEGED = (
    *(f"--cap-add={name}" for name in ("SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE", "DAC_READ_SEARCH")),
    *(f"--security-opt={name}=unconfined" for name in ("seccomp", "apparmor", "systempaths")),
)
"""What --privileged gives, less the capabilities that the machine itself may lack."""


def prepare(host: Machine) -> None:
    """Put the attacks and the users on the host."""
    host.copy_in(Path(__file__).parent / "attacks", f"{PLACE}/tests/siege/attacks")
    host.write(f"{PLACE}/attack", LAUNCHER, 0o755)
    for name, uid in USERS.items():
        script = 'id "$1" >/dev/null 2>&1 || useradd --uid "$2" "$1"; install -d -o "$1" -g "$1" -m 700 "/home/$1"'
        host.run("sh", "-ec", script, "sh", name, str(uid))


class Attackers:
    """Starts attacks, and ends them all."""

    def __init__(self, host: Machine) -> None:
        self.host = host
        self.units: list[str] = []
        self.containers: list[tuple[str, str]] = []

    def by_user(self, user: str, attack: str, *options: str, name: str = "", wait: bool = True) -> str:
        """Start the attack as that user; returns its unit's name, with `wait` when all of it is there.

        `name` is for one that is started twice.
        """
        unit = f"attack-{name or attack}-{user}.service"
        settings = ["Type=notify", "NotifyAccess=all", f"User={user}", f"Slice=user-{USERS[user]}.slice"]
        settings += ["TasksMax=infinity", "LimitNOFILE=20000", f"Environment=HOME=/home/{user}"]
        settings += ["TimeoutStartSec=300", "TimeoutStopSec=20"]
        words = [word for text in settings for word in ("-p", text)]
        self.units.append(unit)
        command = [*([] if wait else ["--no-block"]), *words, "--", f"{PLACE}/attack", attack, *options]
        self.host.run("systemd-run", "--quiet", f"--unit={unit}", *command, timeout=310)
        return unit

    def in_container(self, engine: str, script: str, *options: str, flags: Sequence[str] = ()) -> str:
        """Start the shell script in a container of docker or podman that has the host's / on /host; returns its id."""
        name = f"attack-{script}-{engine}"
        mounts = ("-v", f"{PLACE}/tests/siege/attacks:/attacks:ro", "-v", "/:/host:ro")
        run = ("run", "-d", f"--name={name}", "--network=none", *mounts, *flags, "bb", "sh", f"/attacks/{script}.sh")
        self.containers.append((engine, name))
        found = self.host.run(engine, *run, *options).stdout.strip()
        wait_until(lambda: self.host.run(engine, "logs", name).stdout.startswith("ready"), 60, f"{script} is ready")
        return found

    def ended(self) -> list[str]:
        """Those that are not there any more though nobody ended them."""
        states = zip(self.units, self._states(), strict=True)
        gone = [unit for unit, state in states if state not in ("active", "activating")]
        for engine, name in self.containers:
            if self.host.run(engine, "inspect", "-f", "{{.State.Running}}", name, check=False).stdout.strip() != "true":
                gone.append(name)
        return gone

    def _states(self) -> list[str]:
        if not self.units:
            return []
        return self.host.run("systemctl", "is-active", *self.units, check=False).stdout.split()

    def end(self) -> None:
        """Kill them all, and wait until they are gone."""
        for engine, name in self.containers:
            self.host.run(engine, "rm", "-f", *(("-t", "0") if engine == "podman" else ()), name, check=False)
        if self.units:
            self.host.run("systemctl", "stop", *self.units, check=False, timeout=120)
            self.host.run(f"{PLACE}/attack", "fuse_mounts", "--undo", timeout=120)
            self.host.run("systemctl", "reset-failed", *self.units, check=False)
        self.units, self.containers = [], []


@contextlib.contextmanager
def attackers(host: Machine) -> Iterator[Attackers]:
    """Attackers that are ended at the end."""
    made = Attackers(host)
    try:
        yield made
    finally:
        made.end()
