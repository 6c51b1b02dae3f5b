"""containerd, standalone or started by dockerd or a Kubernetes distribution: where it and its shims mount.

containerd-config.toml(5): `state`, default /run/containerd, and `root`, default /var/lib/containerd; `--state`,
`--root` and `--config` on the command line override. By containerd/containerd, 1.6 to 2.2:

Each task has a bundle STATE/io.containerd.runtime.v2.task/NAMESPACE/ID, whose `rootfs` the shim mounts and which is
removed right after the umount (core/runtime/v2/bundle.go, Delete()). Tasks of dockerd have an empty rootfs unless
containerd keeps dockerd's images. Its record is the bundle's init.pid. Of CRI, sandboxes/ID/shm (internal/cri/server/
podsandbox/sandbox_run_linux.go, setupSandboxFiles()).

ROOT/tmpmounts/containerd-mountN has what the daemon mounts for a moment (core/mount/temp.go, WithTempMount(), which
umounts and then removes the directory), and tmpmounts/ovl-idmappedN/N the lower layers of an idmapped overlay
(core/mount/mount_linux.go, doPrepareIDMappedOverlay()). A daemon that starts unmounts both (cmd/containerd/command/
main.go). N is random, so that no such directory is used twice.

STATE/io.containerd.mount-manager.v1.bolt/t/N/N, since 2.2, has what snapshots are made of: images on loop or
device-mapper devices, of any type (core/mount/manager/manager.go, Activate() and Deactivate(), which removes t/N).
"""

import fnmatch
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
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
ROOT = b"/var/lib/containerd"
CONFIG_FILE = b"/etc/containerd/config.toml"

GRAPH_LAYOUT = (
    Layout(b"io.containerd.runtime.v2.task/*/*/rootfs", "overlay"),
    Layout(b"io.containerd.runtime.v1.linux/*/*/rootfs", "overlay"),
    Layout(b"io.containerd.grpc.v1.cri/sandboxes/*/shm", "tmpfs", MountClass.SHM),
)

_TEMPORARY = b"/tmpmounts"
TEMPORARY_LAYOUT = (Layout(b"*", None), Layout(b"*/*", None))
_MANAGER = b"/io.containerd.mount-manager.v1.bolt"
MANAGER_LAYOUT = (Layout(b"t/*/*", None, MountClass.VOLUME),)
LAYOUTS = (*GRAPH_LAYOUT, *TEMPORARY_LAYOUT, *MANAGER_LAYOUT)

_Table = Mapping[str, object]


def roots(host: Host, config: Config) -> list[Root]:
    """The directories of each containerd that runs or ran, else the configured ones. Raises OSError."""
    found = host.each(COMMAND, partial(_of_daemon, host))
    states = (root.path for root in found if root.layout == GRAPH_LAYOUT)
    temporary = (root.path for root in found if root.layout == TEMPORARY_LAYOUT)
    ended = host.ended(ENGINE, states), host.ended(f"{ENGINE} root", temporary)
    configured = ((), ()) if host.of(COMMAND) else _by_configuration(host)
    for path in dict.fromkeys((*ended[0], *configured[0])):
        found += _in_state(host, path, None)
    found += [_temporary(path, None) for path in dict.fromkeys((*ended[1], *configured[1]))]
    return found


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
    state = option(daemon.argv, b"--state") or _configured(host, file, daemon, "state") or STATE
    if path := host.realpath(state, daemon):
        yield from _in_state(host, path, daemon)
    root = option(daemon.argv, b"--root") or _configured(host, file, daemon, "root") or ROOT
    if path := host.realpath(root + _TEMPORARY, daemon):
        yield _temporary(path, daemon)


def _by_configuration(host: Host) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """The state and the temporary directories of a containerd that would be started now, where they are there."""
    state = host.realpath(_configured(host, CONFIG_FILE, None, "state") or STATE)
    temporary = host.realpath((_configured(host, CONFIG_FILE, None, "root") or ROOT) + _TEMPORARY)
    return (state,) if state else (), (temporary,) if temporary else ()


def _in_state(host: Host, path: bytes, daemon: Daemon | None) -> Iterator[Root]:
    root = _root(path, daemon)
    yield root
    if manager := host.realpath(path + _MANAGER, daemon):
        yield replace(root, path=manager, kind=RootKind.VOLUME, layout=MANAGER_LAYOUT, record=())


def _temporary(path: bytes, daemon: Daemon | None) -> Root:
    return replace(_root(path, daemon), layout=TEMPORARY_LAYOUT, record=())


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


def _configured(host: Host, file: bytes, daemon: Daemon | None, key: str) -> bytes | None:
    """`state` or `root` of the configuration; imported files override the one that imports them."""
    main = _toml(host, file, daemon)
    tables = [main, *(_toml(host, path, daemon) for path in _imports(host, file, main, daemon))]
    paths = [value for table in tables if isinstance(value := table.get(key), str) and value.startswith("/")]
    return os.path.normpath(paths[-1].encode()) if paths and "\0" not in paths[-1] else None


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
