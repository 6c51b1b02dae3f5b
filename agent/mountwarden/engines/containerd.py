"""containerd, standalone or started by dockerd: its state directory, in which shims mount containers' file systems.

containerd-config.toml(5): `state`, default /run/containerd; `--state` and `--config` on the command line override.
Each task has a bundle STATE/io.containerd.runtime.v2.task/NAMESPACE/ID, whose `rootfs` the shim mounts and which is
removed right after the umount. Tasks of dockerd have an empty rootfs unless containerd keeps dockerd's images.
"""

import fnmatch
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from ..config.schema import Config
from ..model import Layout, MountClass, RecordState, Root, RootKind
from ..observe.processes import Daemon
from .command_line import option
from .file_cache import FileCache, toml
from .sources import Host

ENGINE = "containerd"
COMMAND = "containerd"

STATE = b"/run/containerd"
CONFIG_FILE = b"/etc/containerd/config.toml"

GRAPH_LAYOUT = (
    Layout(b"io.containerd.runtime.v2.task/*/*/rootfs", "overlay"),
    Layout(b"io.containerd.runtime.v1.linux/*/*/rootfs", "overlay"),
    Layout(b"io.containerd.grpc.v1.cri/sandboxes/*/shm", "tmpfs", MountClass.SHM),
)

_Table = Mapping[str, object]


def roots(host: Host, config: Config) -> list[Root]:
    """The state directory of each containerd that runs or ran, else the configured one. Raises OSError."""
    found = host.each(COMMAND, partial(_of_daemon, host))
    ended = host.ended(ENGINE, (root.path for root in found))
    configured = () if host.of(COMMAND) else (host.realpath(_configured(host, CONFIG_FILE, None) or STATE),)
    return found + [_root(path, None) for path in dict.fromkeys((*ended, *configured)) if path]


def records(root: Root, rels: Sequence[bytes]) -> list[RecordState]:
    """Live where the bundle's init.pid names a living process, else unknown.

    Never unmounted: a task that has ended keeps its mount until it is deleted, and then its bundle is gone too. A
    shim mounts in the namespace it was started in, which need not be that of a containerd restarted since: so a
    bundle whose process lives counts as in use wherever it is mounted.
    """
    return [_record(os.path.dirname(os.path.join(root.path, rel))) for rel in rels]


def _record(bundle: bytes) -> RecordState:
    try:
        pid = FileCache().load(bundle + b"/init.pid", int)
        alive = pid is not None and os.path.exists(f"/proc/{pid}")
    except (OSError, ValueError):
        alive = False
    return RecordState.LIVE if alive else RecordState.UNKNOWN


def _of_daemon(host: Host, daemon: Daemon) -> Iterator[Root]:
    file = option(daemon.argv, b"--config", b"-c") or CONFIG_FILE
    state = option(daemon.argv, b"--state") or _configured(host, file, daemon) or STATE
    if path := host.realpath(state, daemon):
        yield _root(path, daemon)


def _root(path: bytes, daemon: Daemon | None) -> Root:
    return Root(
        path=path,
        engine=ENGINE,
        kind=RootKind.GRAPH,
        layout=GRAPH_LAYOUT,
        home=daemon.namespace if daemon else None,
        home_known=daemon is not None,
        home_pid=daemon.pid if daemon and not daemon.own else None,
        record=(os.fsdecode(path),),
    )


def _configured(host: Host, file: bytes, daemon: Daemon | None) -> bytes | None:
    """`state` of the configuration; imported files override the one that imports them."""
    main = _toml(host, file, daemon)
    tables = [main, *(_toml(host, path, daemon) for path in _imports(host, file, main, daemon))]
    states = [value for table in tables if isinstance(value := table.get("state"), str) and value.startswith("/")]
    return os.path.normpath(states[-1].encode()) if states and "\0" not in states[-1] else None


def _imports(host: Host, file: bytes, table: _Table, daemon: Daemon | None) -> Iterator[bytes]:
    patterns = table.get("imports")
    for pattern in patterns if isinstance(patterns, list) else []:
        if not isinstance(pattern, str) or "\0" in pattern:
            continue
        directory, name = os.path.split(os.path.join(os.path.dirname(file), pattern.encode()))
        for each in host.names(directory, daemon):
            if fnmatch.fnmatchcase(each, name):
                yield os.path.join(directory, each)


def _toml(host: Host, path: bytes, daemon: Daemon | None) -> _Table:
    try:
        return toml(host.read(path, daemon) or b"")
    except (OSError, ValueError, RecursionError) as error:
        host.gap(f"containerd's {os.fsdecode(path)}", f"{type(error).__name__}: {error}")
        return {}
