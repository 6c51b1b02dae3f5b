"""The canary: a real layer, a real private namespace, a real leak, found and detached, each step timed.

Nothing of the host is touched: the layer lies in a directory of its own, and everything is gone at the end, as the
demo's is. Where systemd runs and we are root, a transient unit holds the copy; elsewhere it happens in namespaces of
its own, which needs no root. It scans its home and the namespace of the holder, and no other.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass

from ..config.schema import Config, RootEntry
from ..errors import MountwardenError
from ..escape import sentence
from ..model import Action, Finding, Kind, RootKind
from ..observe.enter import own_namespace
from ..observe.processes import link_inode
from ..output.columns import cost
from ..remedies import apply
from ..scan.scanner import Scanner
from ..scratch import stage, topology
from .check import Check, Status

GROUP = "canary"
_Hold = Callable[[], AbstractContextManager[topology.ScratchHolder]]


@dataclass(frozen=True, slots=True)
class CanaryResult:
    """What came of it. Times are in seconds."""

    done: bool
    text: str
    """What went wrong; empty where all went well."""
    held_by: str
    mount: float = 0.0
    find: float = 0.0
    detach: float = 0.0


def run() -> CanaryResult:
    """Do it all. Nothing is raised: what goes wrong is in the result."""
    read, write = os.pipe2(os.O_CLOEXEC)
    try:
        _run_where_it_can(write)
    except (MountwardenError, OSError) as error:
        hint = getattr(error, "hint", None)
        return CanaryResult(False, f"{error}" + (f" ({hint})" if hint else ""), "nobody")
    finally:
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            answer = pipe.read()
    return (
        CanaryResult(**json.loads(answer))
        if answer
        else CanaryResult(False, "it ended before it said anything", "nobody")
    )


def check(result: CanaryResult) -> Check:
    """The canary as a line."""
    if result.done:
        text = (
            f"a real layer leaked into {sentence(result.held_by)}: mounted in {cost(result.mount)}, found in "
            f"{cost(result.find)}, detached in {cost(result.detach)} with every check; its holder never noticed"
        )
        return Check("canary", GROUP, Status.OK, text)
    text = f"no real leak could be made, found and detached: {sentence(result.text)}"
    return Check("canary", GROUP, Status.FAIL, text, "mountwarden demo shows each step")


def _run_where_it_can(write: int) -> None:
    if topology.systemd_runs():
        topology.on_host(lambda directory: _on_host(directory, write))
    else:
        stage.stage(lambda: _in_stage(write))


def _on_host(directory: bytes, write: int) -> int:
    unit = os.fsdecode(os.path.basename(directory))
    return _answered(write, lambda: _leak_and_detach(directory, lambda: topology.holder_unit(unit)))


def _in_stage(write: int) -> int:
    directory = stage.covered() + b"/" + topology.NAME.encode()
    os.mkdir(directory)
    return _answered(write, lambda: _leak_and_detach(directory, topology.holder_process))


def _answered(write: int, function: Callable[[], CanaryResult]) -> int:
    """In the child: the result goes to the parent; a few hundred bytes, which a pipe holds."""
    try:
        result = function()
    except (MountwardenError, OSError) as error:
        result = CanaryResult(False, str(error), "nobody")
    os.write(write, json.dumps(asdict(result)).encode())
    return 0 if result.done else 1


def _leak_and_detach(directory: bytes, hold: _Hold) -> CanaryResult:
    topology.root(directory)
    spaces = {own_namespace()}  # of what else the host has, which may be much, no copy of ours concerns it
    config = Config(engines=(), roots=(RootEntry(directory, kind=RootKind.GRAPH),))
    scanner = Scanner(config, home=own_namespace(), only=spaces)
    with _timed() as mounting:
        layer = topology.mount_layer(directory)
    with hold() as holder:
        held_by = holder.unit or "a process of its own"
        spaces.add(link_inode(holder.pid, "mnt"))
        scanner.scan()
        topology.unmount_layer(layer)
        with _timed() as finding:
            leaked = _only_leak(scanner)
        with _timed() as detaching:
            outcome = apply.carry_out(leaked, scanner, Action.DETACH)
        if not outcome.done:
            return CanaryResult(False, outcome.text, held_by)
        left = scanner.scan(resync=True).findings
        os.kill(holder.pid, 0)
    text = f"{left[0].kind} is still found after the detach" if left else ""
    return CanaryResult(not left, text, held_by, mounting.seconds, finding.seconds, detaching.seconds)


def _only_leak(scanner: Scanner) -> Finding:
    leaked = [finding for finding in scanner.scan().findings if finding.kind is Kind.LEAKED]
    if len(leaked) != 1:
        raise MountwardenError(f"the one leak was reported as {len(leaked)}")
    return leaked[0]


@dataclass(slots=True)
class _Clock:
    seconds: float = 0.0


@contextlib.contextmanager
def _timed() -> Iterator[_Clock]:
    clock, start = _Clock(), time.monotonic()
    yield clock
    clock.seconds = time.monotonic() - start
