"""containerd: the file system of a task whose shim and process have ended, and that containerd does not have any more.

A bundle STATE/io.containerd.runtime.v2.task/NAMESPACE/ID holds, by containerd's own code:
- `address`, and later `bootstrap.json` with the key "address": the socket of the shim that serves the task
  (1.6: runtime/v2/shim/util.go, WriteAddress; 2.0: core/runtime/v2/shim.go, writeBootstrapParams). All containers of a
  pod are served by the shim of its sandbox, whose command line names the sandbox alone
  (cmd/containerd-shim-runc-v2/manager/manager_linux.go, Start): so the socket decides, beside the command lines, which
  have `-namespace NAMESPACE -id ID`, and a shim's working directory, which is the bundle that it was started for (the
  same file, newCommand).
- `init.pid`, written once the process is made (go-runc, and cmd/containerd-shim-runc-v2/process/init.go, Create).
Tasks.List lists those that containerd has a shim for (plugins/services/tasks/local.go, List, addTasks); one whose shim
does not answer is left out of it or holds it up: so it proves nothing without the rest. Where the library for that
question is not installed, the state directory and containerd's answer to a connection decide.
After a start containerd takes up its bundles or deletes them (core/runtime/v2/shim_load.go, loadShims).
"""

import contextlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from ..escape import printable
from ..files import read_regular
from ..model import Match, Mount
from ..model.ownership import OWNER_UNKNOWN, LeftBehind, Owned, Ownership
from ..observe import processes, unix_sockets
from ..observe.start_times import process_started
from . import containerd, grpc_unix
from .proof import Inquiry, Pairs
from .protobuf_wire import fields

_LIST = b"/containerd.services.tasks.v1.Tasks/List"
_TASKS = b"io.containerd.runtime.v2.task"
_LIMIT = 1 << 16
_STEP = 2.0
"""Seconds by which two clocks of one moment may differ."""
_UNIX = re.compile(r"unix://(/[^\0\s]+)")
_IDENTITY = re.compile(rb"[A-Za-z0-9]+(?:[._-]+[A-Za-z0-9]+)*")
"""containerd, pkg/identifiers/validate.go: of a namespace and of a container."""


@dataclass(frozen=True, slots=True)
class _Bundle:
    """What a bundle's files say."""

    pid: int
    written: float
    """When init.pid was written, in seconds since the Epoch."""
    socket: bytes
    """The shim's."""


_Read = tuple[list[_Bundle | None], Mapping[bytes, frozenset[bytes]] | None]
"""The bundles, and the tasks by namespace; None: they can't be asked for."""


def claims(match: Match) -> bool:
    """Whether it is for this module to say who owns a mount there."""
    match match.rel.split(b"/"):
        case [kind, namespace, name, b"rootfs"] if match.root.engine == containerd.ENGINE and kind == _TASKS:
            return bool(_IDENTITY.fullmatch(namespace) and _IDENTITY.fullmatch(name))
    return False


def owners(inquiry: Inquiry, pairs: Pairs) -> list[Ownership]:
    """One for each, all of one root. Raises: NoAnswer, OSError, ValueError where something can't be asked."""
    root = pairs[0][0].root
    daemon = inquiry.daemon(root)
    if daemon is None:
        return [OWNER_UNKNOWN] * len(pairs)
    rels = [match.rel for match, _mount in pairs]
    bundles, tasks = inquiry.ask(
        daemon, partial(_read, root.path, rels, unix_sockets.own(daemon.pid), daemon.pid), len(pairs)
    )
    wanted = frozenset(os.path.basename(bundle.socket) for bundle in bundles if bundle)
    served = unix_sockets.served(daemon.pid, wanted)
    cases = zip(pairs, bundles, strict=True)
    return [_owner(inquiry, *pair, bundle, tasks, served) for pair, bundle in cases]


def _owner(
    inquiry: Inquiry,
    match: Match,
    mount: Mount,
    bundle: _Bundle | None,
    tasks: Mapping[bytes, frozenset[bytes]] | None,
    served: frozenset[bytes],
) -> Ownership:
    _kind, namespace, name, _rootfs = match.rel.split(b"/")
    directory = os.path.dirname(os.path.join(match.root.path, match.rel))
    if tasks is not None and name in tasks.get(namespace, frozenset()):
        return Ownership(Owned.YES)
    if bundle is None or os.path.basename(bundle.socket) in served or _runs(bundle):
        return OWNER_UNKNOWN
    traces = inquiry.traces
    if traces.name(name) or mount.device in traces.roots or directory in traces.directories:
        return OWNER_UNKNOWN
    proof = "containerd runs and answers, no shim serves the bundle, "
    proof += f"process {bundle.pid} of its init.pid has ended"
    if tasks is not None:
        proof += ", and it is not among containerd's tasks"
    frees = f"the task's directory {printable(directory)}"
    return Ownership(Owned.GONE, LeftBehind.TASK, proof, frees)


def _runs(bundle: _Bundle) -> bool:
    """Whether the process lives that init.pid names; another one that has its number by now is younger than the file.

    A clock that was set forward makes every process look younger. So this is no proof by itself: that no process has
    its root on the mount, and none names the task, is asked too.
    """
    if not processes.is_alive(bundle.pid):
        return False
    started = process_started(bundle.pid)
    return started is None or started <= bundle.written + _STEP


def _read(state: bytes, rels: Sequence[bytes], sockets: Sequence[bytes], pid: int) -> _Read:
    """In the daemon's mount namespace."""
    path = grpc_unix.first_answering(sockets, pid)
    namespaces = list(dict.fromkeys(rel.split(b"/")[1] for rel in rels))
    tasks: Mapping[bytes, frozenset[bytes]] | None = None
    with contextlib.suppress(grpc_unix.NoLibrary):
        answers = grpc_unix.call(path, pid, _LIST, [{b"containerd-namespace": name} for name in namespaces])
        tasks = dict(zip(namespaces, map(_ids, answers), strict=True))
    return [_bundle(os.path.dirname(os.path.join(state, rel))) for rel in rels], tasks


def _ids(answer: bytes) -> frozenset[bytes]:
    """ListTasksResponse: field 1 is a Process, whose fields 1 and 2 are the ids of its container and its own."""
    tasks = (value for number, value in fields(answer) if number == 1 and isinstance(value, bytes))
    return frozenset(
        value for task in tasks for number, value in fields(task) if number in (1, 2) and isinstance(value, bytes)
    )


def _bundle(directory: bytes) -> _Bundle | None:
    """None where it does not say everything."""
    try:
        file = read_regular(directory + b"/init.pid", _LIMIT)
        address = _UNIX.fullmatch(_address(directory))
        pid = int(file.data)
    except (OSError, ValueError, RecursionError):
        return None
    return _Bundle(pid, file.status.st_mtime, os.fsencode(address[1])) if address and pid > 0 else None


def _address(directory: bytes) -> str:
    try:
        return read_regular(directory + b"/address", _LIMIT).data.decode().strip()
    except FileNotFoundError:
        parameters = json.loads(read_regular(directory + b"/bootstrap.json", _LIMIT).data)
        return str(parameters["address"]) if isinstance(parameters, dict) and "address" in parameters else ""
