"""systemd, and mountwarden's own service: does it run, where, with which configuration, and is its catalog there."""

import importlib.util
import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from .. import __version__
from ..errors import MountwardenError
from ..escape import printable, sentence
from ..observe.enter import own_namespace
from ..output.journal_messages import IDS
from .check import Check, Status

SYSTEMD = "systemd"
SERVICE = "service"
_DEADLINE = 5.0


def version(command: Sequence[str] = ("systemctl", "--version"), runs: str = "/run/systemd/system") -> Check:
    """systemd's version, and whether it runs here at all."""
    if not os.path.isdir(runs):
        text = "systemd does not run here: findings name processes, and nothing starts the service"
        return Check("systemd.version", SYSTEMD, Status.WARN, text, "run it on the host itself, not in a container")
    line = _output(command)
    name = line.split("(")[0].strip() if line else "systemd, its version not known"
    return Check("systemd.version", SYSTEMD, Status.OK, f"{printable(name)} runs")


def bus() -> Check:
    """Whether PID 1 can be asked for the settings of a unit."""
    try:
        found = importlib.util.find_spec("pystemd") is not None
    except (ImportError, ValueError):
        found = False
    if found:
        return Check("systemd.bus", SYSTEMD, Status.OK, "pystemd is there: causes name the directive of a unit")
    text = "pystemd is not there: causes can't name the directive of a unit"
    return Check("systemd.bus", SYSTEMD, Status.WARN, text, "apt install python3-pystemd")


def namespace(pid1: int | None, unseen: str | None = None) -> Check:
    """Whether this command sees what PID 1 sees. `pid1` is the inode of its mount namespace, None where unknown;
    `unseen` is why the host is not seen.
    """
    name, group = "systemd.namespace", SYSTEMD
    if unseen is not None:
        hint = "run it on the host, or in a container with the host's processes"
        return Check(name, group, Status.WARN, f"the host is not seen: {sentence(unseen)}", hint)
    if pid1 is None:
        text = "PID 1's mount namespace can't be read: which mounts are the host's own is not known"
        return Check(name, group, Status.WARN, text, "run it as root on the host itself, outside of any container")
    if pid1 != own_namespace():
        text = "this command runs in a mount namespace of its own: actions of the command line would not reach the host"
        return Check(name, group, Status.WARN, text, "nsenter -t 1 -m mountwarden doctor")
    return Check(name, group, Status.OK, "this command runs in PID 1's mount namespace")


def agent(document: Mapping[str, Any] | MountwardenError, running: bool) -> Check:
    """The service as its own status says; an error is why there is none."""
    name, group, start = "service.running", SERVICE, "systemctl enable --now mountwarden.service"
    if isinstance(document, MountwardenError):
        text = f"the service is not known to run: {sentence(document.message)}"
        return Check(name, group, Status.WARN, text, start if os.geteuid() == 0 else document.hint)
    if not running:
        text = "the service has ended: leaks are neither reported nor detached"
        return Check(name, group, Status.FAIL, text, "journalctl -u mountwarden -e; systemctl start mountwarden")
    text = f"the service runs (pid {document['pid']}), mode {document['mode']}, tier {document['tier']}"
    if document["config_kept"]:
        text += f"; its configuration is wrong, and the old one is kept: {sentence(str(document['config_kept']))}"
        return Check(name, group, Status.FAIL, text, "mountwarden config check")
    if document.get("unsaved"):
        text += f"; it goes on from memory: {sentence(str(document['unsaved']))}"
        return Check(name, group, Status.FAIL, text, "df /run; df -i /run")
    if document["version"] != __version__:
        text += f"; it is version {printable(document['version'])}, and this command is {__version__}"
        return Check(name, group, Status.WARN, text, "systemctl restart mountwarden")
    if document["paused"]:
        return Check(name, group, Status.WARN, f"{text}; its actions are paused", "mountwarden resume")
    return Check(name, group, Status.OK, text)


def config(directory: bytes, errors: Sequence[MountwardenError]) -> Check:
    """What `config check` says."""
    if not errors:
        return Check("service.config", SERVICE, Status.OK, f"the configuration in {printable(directory)} is right")
    more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
    text = f"the configuration is wrong: {sentence(errors[0].message)}{more}"
    return Check("service.config", SERVICE, Status.FAIL, text, "mountwarden config check")


def catalog(command: Sequence[str] = ("journalctl", "--quiet", "--list-catalog")) -> Check:
    """Whether journalctl -x can explain our messages."""
    name, hint = "service.catalog", "install the package (or make install), then: journalctl --update-catalog"
    identity = next(iter(IDS.values()))
    answer = _output((*command, identity))
    if answer is None:
        return Check(name, SERVICE, Status.WARN, "the journal's catalog can't be asked", "install systemd's journalctl")
    if answer.startswith(identity):
        return Check(name, SERVICE, Status.OK, "the journal's catalog explains each message (journalctl -x)")
    text = "the journal's catalog has no entry of mountwarden: journalctl -x explains nothing"
    return Check(name, SERVICE, Status.WARN, text, hint)


def _output(command: Sequence[str]) -> str | None:
    """The first line of what a command prints; None where it can't be run."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="backslashreplace",
            timeout=_DEADLINE,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.partition("\n")[0]
