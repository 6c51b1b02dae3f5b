"""A guarded root in a sandbox, and leaks in it."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from mountwarden.config.schema import Config, RootEntry
from mountwarden.kernel import abi, syscalls
from mountwarden.model import Action, Finding, Outcome
from mountwarden.observe.enter import own_namespace
from mountwarden.remedies import apply
from mountwarden.scan.result import Scan
from mountwarden.scan.scanner import Scanner

from tests.support.scratch_ns import Overlay, Sandbox, overlay
from tests.unit.engines.trees import docker_container

T = TypeVar("T")

ROOT = b"/mnt/root"
CONFIG = Config(engines=(), roots=(RootEntry(ROOT),))

DOCKER = Config(engines=("docker",))
LAYER = b"/var/lib/docker/overlay2/l1"
"""The layer of `dockerd`'s one container."""


@dataclass(frozen=True)
class State:
    """What must be the same before and after an act that was declined."""

    directory: tuple[int, ...]
    xattrs: dict[str, bytes]
    content: tuple[str, ...]


def state(path: bytes) -> State:
    """Inode, mode, owner, xattrs and entries of a directory (or the like of a symlink or file)."""
    found = os.stat(path, follow_symlinks=False)
    xattrs = {
        name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)
    }
    content = tuple(sorted(os.fsdecode(n) for n in os.listdir(path))) if os.path.isdir(path) else ()
    return State((found.st_dev, found.st_ino, found.st_mode, found.st_uid, found.st_gid), xattrs, content)


class Home:
    """A sandbox whose `ROOT` is guarded. Every method runs in the sandbox's namespace."""

    def __init__(self, sandbox: Sandbox, config: Config = CONFIG) -> None:
        self.sandbox = sandbox
        self.config = config

    def run(self, function: Callable[[], T]) -> T:
        return self.sandbox.run(function)

    def layer(self, name: bytes = b"X", *, mounted: bool = True) -> Overlay:
        return self.run(lambda: overlay(ROOT + b"/" + name, mounted=mounted))

    def umount(self, path: bytes, flags: int = 0) -> None:
        self.run(lambda: syscalls.umount(path, flags))

    def shared(self) -> None:
        self.run(lambda: syscalls.mount(None, b"/mnt", None, abi.MS_SHARED))

    def scan(self) -> Scan:
        """One look, by a fresh process: no history."""
        return self.run(lambda: _scan(self.config))

    def findings(self) -> tuple[Finding, ...]:
        return self.scan().findings

    def leaked(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings() if finding.kind == "leaked")

    def act(self, finding: Finding, action: Action, *, lazy: bool = False) -> Outcome:
        return self.run(lambda: apply.carry_out(finding, _scanner(self.config), action, lazy=lazy))

    def found(self, kind: str) -> list[Finding]:
        """The findings of a kind, by a fresh looker in this very process, which must be in the sandbox."""
        return [finding for finding in _scan(self.config).findings if finding.kind == kind]

    def carry_out(self, finding: Finding, action: Action) -> Outcome:
        """Act in this very process, which must be in the sandbox."""
        scanner = _scanner(self.config)
        scanner.scan(resync=True)
        return apply.carry_out(finding, scanner, action)

    def act_after(self, before: Callable[[], None], action: Action) -> Outcome:
        """Act on the one leak that `before` makes, by a looker that saw home before and after, as the agent has."""

        def watched() -> Outcome:
            scanner = _scanner(self.config)
            scanner.scan()
            before()
            (finding,) = (found for found in scanner.scan().findings if found.kind == "leaked")
            return apply.carry_out(finding, scanner, action)

        return self.run(watched)

    def act_by_history(self, before: Callable[[], None]) -> tuple[Finding, ...]:
        """The findings of a looker that looked before and after `before`, so that it has a history."""

        def watched() -> tuple[Finding, ...]:
            scanner = _scanner(self.config)
            scanner.scan()
            before()
            return scanner.scan().findings

        return self.run(watched)


def _scanner(config: Config) -> Scanner:
    return Scanner(config, home=own_namespace())


def _scan(config: Config) -> Scan:
    return _scanner(config).scan()


@contextlib.contextmanager
def dockerd() -> Iterator[None]:
    """A process of that name, and a data-root whose record has one container, which does not run.

    To be called in a pid namespace of few processes: others would take it for an engine of theirs.
    """
    sleep = shutil.which("sleep")
    assert sleep
    syscalls.mount(b"tmpfs", b"/var/lib", b"tmpfs")
    docker_container(Path("/var/lib/docker"), "c1", os.path.basename(LAYER).decode())
    os.symlink(sleep, "/var/lib/dockerd")
    with subprocess.Popen(["sleep", "1000"], executable="/var/lib/dockerd") as running:
        try:
            yield
        finally:
            running.kill()


def with_layout(*patterns: bytes, **other: object) -> Config:
    """A configuration of `ROOT` with another layout."""
    entry = replace(RootEntry(ROOT), layout=patterns, **other)  # type: ignore[arg-type]
    return Config(engines=(), roots=(entry,))
