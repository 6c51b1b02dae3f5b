"""Rounds of kills on a test host with containerd, dockerd, its BuildKit and podman, beside what lives on.

A round starts something in each engine, kills a part of it at a random moment, and waits until the engines are back.
What each kill may leave is not foreseen: dead_inside.py says afterwards what is truly left.
"""

import contextlib
import json
import os
import random
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.inside import inside
from tests.support.machine import Machine
from tests.support.product import LIBRARY
from tests.support.wait import wait_until

INSIDE = "/usr/local/lib/dead_inside.py"
WATCHED = "/root/accused"
STATE = "/run/containerd/io.containerd.runtime.v2.task/default"
IMAGE = "docker.io/library/bb:latest"
LIMITS = ("--pids-limit=0", "--ulimit=nofile=1024:1024", "--ulimit=nproc=4096:4096")
_HASTE = "s/^COST_FACTOR = .*/COST_FACTOR = 1.0/; s/^FOUND_FACTOR = .*/FOUND_FACTOR = 1.0/"
_NO_LIMIT_OF_STARTS = "[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestart=always\nRestartSec={}\n"
_DOCKERFILE = 'FROM bb\nRUN ["/bin/sleep", "7777"]\n'

Strike = dict[str, Any]
Kinds = dict[str, Callable[[], list[Strike]]]
"""What may be started and killed in a round: each gives the kills."""
Started = subprocess.Popen[bytes]


class Fleet:
    """The engines with their bystanders, and the rounds."""

    _dockerd: tuple[str, ...] = ()
    """More options of dockerd."""

    def __init__(self, host: Machine, random_numbers: random.Random) -> None:
        self.host, self.random = host, random_numbers
        self.kills: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self._number = 0
        self._running: list[Started] = []

    def start(self) -> None:
        """The engines, and one of each state that a container lives in; all of them outlive a killed dockerd."""
        host = self.host
        host.copy_in(Path(__file__).with_name("dead_inside.py"), INSIDE)
        for unit, pause in (("docker", "2s"), ("containerd", "100ms")):
            host.write(f"/etc/systemd/system/{unit}.service.d/again.conf", _NO_LIMIT_OF_STARTS.format(pause))
        host.run("systemctl", "daemon-reload")
        host.start_docker("--live-restore", *self._dockerd)
        for engine in ("docker", "ctr", "podman"):
            host.import_image(engine)
        host.write("/root/build/Dockerfile", _DOCKERFILE)
        self._start_docker_bystanders()
        self._start_tasks()
        for name in ("live", "paused", "held"):
            self._podman(name)
        host.podman("pause", "paused")
        host.podman("kill", "held")
        wait_until(lambda: "exited" in host.podman("ps", "-a", "--format", "{{.Status}}").stdout.lower(), 30, "it ends")
        self.held = host.podman("mount", "held").stdout.strip()
        self.bystanders = {point: one["id"] for point, one in self.truth().items()}
        self.restarting = {self._merged("again")}

    def _start_docker_bystanders(self) -> None:
        run = ("run", "-d", "--network=none")
        self.host.docker(*run, "--name=live", "--ipc=shareable", "bb", "sleep", "100000")
        self.host.docker(*run, "--name=paused", "bb", "sleep", "100000")
        self.host.docker("pause", "paused")
        self.host.docker("create", "--name=stopped", "bb", "true")
        self.host.docker(*run, "--name=again", "--restart=always", "bb", "sleep", "1")

    def _start_tasks(self) -> None:
        for name in ("live", "paused", "stopped"):
            self.host.ctr(*self._task(name))
        self.host.ctr("tasks", "pause", "paused")
        self.host.ctr("tasks", "kill", "-s", "KILL", "stopped")
        wait_until(lambda: re.search("stopped .*STOPPED", self.host.ctr("tasks", "ls").stdout), 30, "it ends")

    def hasten(self) -> None:
        """Let the service scan whenever it is asked, whatever it costs: each round asks many times."""
        self.host.run("sed", "-i", _HASTE, f"{LIBRARY}/mountwarden/service/schedule.py")

    def watch(self) -> None:
        """Begin to look who is accused, until the host ends."""
        start = ("systemd-run", "--quiet", "--unit=accused", f"--setenv=PYTHONPATH={LIBRARY}")
        self.host.run(*start, "/usr/bin/python3", INSIDE, "watch", WATCHED)

    def truth(self) -> dict[str, dict[str, Any]]:
        """Of each mount of an engine at home."""
        found = dict(json.loads(self.host.run("/usr/bin/python3", INSIDE, "truth", timeout=120).stdout))
        if self.held in found:
            found[self.held]["state"] = "listed"  # `podman mount` says that it is wanted, and podman lists it nowhere
        return found

    def about(self, point: str) -> str:
        """What may tell why that mount is not told, and what the last round was."""
        said = self.host.run("/usr/bin/python3", INSIDE, "about", point).stdout
        return f"{self.last}: {said}"

    def mounted(self) -> dict[str, int]:
        """The ids of all mounts at home."""
        lines = (line.split(" ") for line in self.host.read("/proc/1/mountinfo").splitlines())
        return {line[4]: int(line[0]) for line in lines}

    def bystanders_now(self) -> list[str]:
        """Those of the start that are mounted as they were then."""
        mounted = self.mounted()
        return [point for point, number in self.bystanders.items() if mounted.get(point) == number]

    def _merged(self, name: str) -> str:
        """Of a container of dockerd's."""
        return str(json.loads(self.host.docker("inspect", name).stdout)[0]["GraphDriver"]["Data"]["MergedDir"])

    @property
    def looks(self) -> int:
        """How often the service has been asked."""
        return int(self.host.run("cat", f"{WATCHED}.looks", check=False).stdout or 0)

    def round(self) -> None:
        """Kill in each of the engines, and wait until all of them are back."""
        self._number += 1
        self.last = list[str]()
        with contextlib.ExitStack() as held:
            strikes = list[Strike]()
            for kinds in (self._of_containerd(held), self._of_docker(held), self._of_podman()):
                kind = self.random.choice(list(kinds))
                strikes += kinds[kind]()
                self.done[kind] += 1
                self.last.append(kind)
            self._strike(strikes)
            self._await_engines()
        for one in self._running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(one.pid, signal.SIGKILL)
            one.communicate()
        self._running.clear()
        self._await_engines()

    def clear(self) -> None:
        """Remove what the round has left, other than what lives on."""
        script = """
        ctr tasks ls -q | grep ^v | while read -r name; do ctr tasks delete -f "$name"; done
        ctr containers ls -q | grep ^v | while read -r name; do ctr containers rm "$name"; done
        docker ps -a --format "{{.Names}}" | grep ^v | xargs -r docker rm -f
        podman ps -a --format "{{.Names}}" | grep ^v | xargs -r podman rm -f -t 0
        """
        self.host.run("sh", "-c", script, check=False, timeout=120)
        left = [point for point, one in self.truth().items() if one["state"] == "left"]
        if left:
            self.host.run("umount", "-l", *left, check=False)

    # what is started and killed

    def _of_containerd(self, held: contextlib.ExitStack) -> Kinds:
        name = f"v{self._number}t"
        point = f"{STATE}/{name}/rootfs"
        shim = {"cmdline": f"containerd-shim-runc-v2 .*-id {name} ", "called": "shim"}
        init, daemon = {"point": point, "called": "init"}, {"comm": "containerd"}

        def whole() -> list[Strike]:
            """containerd, shim and init, while something is in the bundle's file system or not."""
            self.host.ctr(*self._task(name))
            if self.random.random() < 0.7:
                held.enter_context(inside(self.host, point))
            return self._shuffled([shim, init, daemon], 0.02)

        def without_daemon() -> list[Strike]:
            self.host.ctr(*self._task(name))
            if self.random.random() < 0.5:
                held.enter_context(inside(self.host, point))
            return self._shuffled([shim, init], 0.02)

        def starting() -> list[Strike]:
            self._begin("ctr", *self._task(name))
            return [self._at({**self.random.choice([shim, daemon, {"comm": "runc"}])}, 0.6)]

        def ending() -> list[Strike]:
            self.host.ctr(*self._task(name))
            self._begin("ctr", "tasks", "delete", "-f", name)
            return self._shuffled([shim, daemon], 0.1)

        return {"task": whole, "shim and init": without_daemon, "task's start": starting, "task's end": ending}

    def _of_docker(self, held: contextlib.ExitStack) -> Kinds:
        name = f"v{self._number}d"
        run = ("docker", "run", "-d", "--network=none", f"--name={name}", "--ipc=shareable", "bb", "sleep", "1000")
        daemon = {"comm": "dockerd"}

        def building(*, also_step: bool) -> list[Strike]:
            self._begin("env", "DOCKER_BUILDKIT=1", "docker", "build", "--no-cache", "--network=none", "/root/build")
            step = {"cmdline": "^(/bin/)?sleep 7777", "called": "build step"}
            if self.random.random() < 0.7:
                with contextlib.suppress(AssertionError):
                    wait_until(lambda: "/buildkit/executor/" in self.host.read("/proc/1/mountinfo"), 10, "a step")
            others = [step, {"cmdline": "^runc .*buildkit", "called": "runc of a build"}]
            return self._shuffled([daemon, *(others if also_step else [])], 0.3)

        def working() -> list[Strike]:
            self.host.run(*run)
            self._begin(*self.random.choice([("docker", "rm", "-f", name), ("docker", "commit", name),
                                             ("docker", "restart", "-t", "0", name)]))  # fmt: skip
            return [self._at(daemon, 0.6)]

        def starting() -> list[Strike]:
            self._begin(*run)
            return [self._at(daemon, 0.8)]

        def container() -> list[Strike]:
            identity = self.host.run(*run).stdout.strip()
            shim = {"cmdline": f"containerd-shim-runc-v2 .*-id {identity} ", "called": "shim"}
            return self._shuffled([shim, {"point": self._merged(name), "called": "init"}], 0.05)

        return {
            "build": lambda: building(also_step=True),
            "build, not its step": lambda: building(also_step=False),
            "dockerd at work": working,
            "dockerd at a start": starting,
            "container of dockerd": container,
        }

    def _of_podman(self) -> Kinds:
        name = f"v{self._number}p"
        monitor = {"cmdline": f"conmon .*-n {name} ", "called": "conmon"}

        def init() -> Strike:
            upper = self.host.podman("inspect", "--format", "{{.GraphDriver.Data.UpperDir}}", name).stdout.strip()
            return {"point": upper.removesuffix("/diff") + "/merged", "called": "init"}

        def both() -> list[Strike]:
            self._podman(name)
            return [{**monitor, "delay": 0.0}, {**init(), "delay": 0.0}]

        def any_order() -> list[Strike]:
            self._podman(name)
            return self._shuffled([monitor, init(), {"cmdline": "podman .*cleanup", "called": "podman"}], 0.1)

        def monitor_alone() -> list[Strike]:
            self._podman(name)
            return [self._at(monitor, 0.1)]

        def starting() -> list[Strike]:
            self._begin("podman", *self._podman_run(name))
            return [self._at({**self.random.choice([{"comm": "podman"}, monitor, {"comm": "crun"}])}, 0.6)]

        def ending() -> list[Strike]:
            self._podman(name)
            self._begin("podman", "rm", "-f", "-t", "0", name)
            return [self._at({"comm": "podman"}, 0.4)]

        return {
            "conmon and init": both,
            "conmon, init and podman": any_order,
            "conmon": monitor_alone,
            "podman at a start": starting,
            "podman at an end": ending,
        }

    def _task(self, name: str) -> tuple[str, ...]:
        return ("run", "-d", "--null-io", "--cpu-shares", "0", IMAGE, name, "sleep", "100000")

    def _podman_run(self, name: str) -> tuple[str, ...]:
        return ("run", "-d", "--name", name, *LIMITS, "--network=none", "--log-driver=none", "bb", "sleep", "100000")

    def _podman(self, name: str) -> None:
        self.host.podman(*self._podman_run(name))

    def _begin(self, *argv: str) -> None:
        self._running.append(self.host.popen(*argv))

    def _at(self, one: Strike, within: float) -> Strike:
        return {**one, "delay": self.random.uniform(0, within)}

    def _shuffled(self, strikes: list[Strike], within: float) -> list[Strike]:
        return [self._at(one, within) for one in self.random.sample(strikes, len(strikes))]

    def _strike(self, strikes: list[Strike]) -> None:
        text = self.host.run("/usr/bin/python3", INSIDE, "strike", json.dumps(strikes)).stdout
        self.kills.update(json.loads(text))

    def _await_engines(self) -> None:
        script = "ctr tasks ls -q >/dev/null && docker ps -q >/dev/null"
        wait_until(lambda: self.host.run("sh", "-c", script, check=False).returncode == 0, 60, "the engines are back")
