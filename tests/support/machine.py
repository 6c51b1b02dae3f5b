"""A test host: a real systemd as PID 1 over the cached tree, booted in about a second, gone without a trace.

Each host has its own mount, pid, uts, ipc, cgroup and network namespaces; its root is an overlay whose upper layer is
in memory, so every boot starts from the clean tree. Several may run at once.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support import loops, tree
from tests.support.engines import Engines
from tests.support.shell import SESSION
from tests.support.wait import wait_until

PROJECT = Path(__file__).resolve().parents[2]

TMPFS = {
    "/var/lib/docker": "mode=710",
    "/var/lib/containers": "mode=755",
    "/var/lib/containerd": "mode=711",
    "/var/lib/kubelet": "mode=755",
    "/home": "mode=755",
    "/tmp": "mode=1777",
}
"""File systems of their own at boot: an engine's overlay cannot have its upper layer on the host's overlay root."""


class Machine(Engines):
    """A booted test host, as a context manager.

    `tmpfs` adds file systems in memory (path: mount options) or, with None as options, leaves a default one out.
    `boot_seconds` is how long it took; `name` is that of its control group.

    Raises: tree.TreeError, with what to install, where no test host can run.
    """

    def __init__(
        self,
        *,
        suite: str = tree.SUITE,
        extras: Sequence[str] = (),
        tmpfs: Mapping[str, str | None] | None = None,
    ) -> None:
        self._place = tree.tree(suite, extras)
        wanted = {**TMPFS, **(tmpfs or {})}
        self._tmpfs = {path: options for path, options in wanted.items() if options is not None}
        self.name = ""
        self.boot_seconds = 0.0

    def __enter__(self) -> Self:
        started = time.monotonic()
        self._supervisor = self._start_supervisor()
        try:
            self.pid, self.name = self._read_start()
            self._await_boot()
        except BaseException:
            self.close()
            raise
        self.boot_seconds = time.monotonic() - started
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start_supervisor(self) -> subprocess.Popen[str]:
        wanted = json.dumps({"tree": str(self._place), "tmpfs": self._tmpfs})
        return subprocess.Popen(
            [sys.executable, str(PROJECT / "tests/support/supervisor.py"), wanted],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(PROJECT / "agent"), "PYTHONDONTWRITEBYTECODE": "1"},
        )

    def _read_start(self) -> tuple[int, str]:
        assert self._supervisor.stdout
        line = self._supervisor.stdout.readline()
        if not line:
            raise RuntimeError("the test host did not start; its supervisor's message is on stderr")
        pid, name = line.split()
        return int(pid), name

    def _await_boot(self) -> None:
        socket = Path(f"/proc/{self.pid}/root/run/systemd/private")
        wait_until(lambda: self._alive() and _is_socket(socket), 30, "systemd listens on its private socket")
        state = self.run("systemctl", "is-system-running", "--wait", check=False, timeout=60).stdout.strip()
        if state != "running":
            failed = self.run("systemctl", "--failed", "--no-legend", "--plain", check=False).stdout
            raise RuntimeError(f"the test host is {state!r}, not running:\n{failed}")
        # systemd leaves / private where it finds itself in a container; a real boot has it shared.
        self.run("mount", "--make-rshared", "/")
        self._open_session()

    @property
    def supervisor_pid(self) -> int:
        """The process that takes the host away when this one ends."""
        return self._supervisor.pid

    def _alive(self) -> bool:
        if self._supervisor.poll() is not None:
            raise RuntimeError("the test host ended while it booted; see stderr")
        return True

    def _open_session(self) -> None:
        scope = ["systemd-run", "--quiet", "--scope", "--slice=user-0.slice", f"--unit={SESSION}"]
        self._session = self.popen(*scope, "sleep", "infinity")
        wait_until(lambda: self.show(SESSION, "ActiveState") == "active", 30, "the session scope is active")

    def close(self) -> None:
        """End the host: its processes, mounts, control group and loop devices. May be called again."""
        attached = loops.attached(self.pid) if hasattr(self, "pid") else ()
        assert self._supervisor.stdin
        assert self._supervisor.stdout
        self._supervisor.stdin.close()
        self._supervisor.wait(30)
        self._supervisor.stdout.close()
        if hasattr(self, "_session"):
            self._session.communicate(timeout=10)
        loops.detach(attached)


def _is_socket(path: Path) -> bool:
    try:
        return path.is_socket()
    except OSError:
        return False
