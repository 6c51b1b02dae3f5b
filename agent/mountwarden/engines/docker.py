"""Docker: the data-root of each dockerd that runs or ran, else the configured one; what dockerd records of its layers.

A data-root holds, below the graphdriver's name, a directory for each layer with its mountpoint `merged`; the /dev/shm
of a container with a shareable IPC namespace; and, with containerd's image store, the container's file system under
`rootfs/SNAPSHOTTER/CONTAINER`. dockerd(8) says where it is: `--data-root` (once `--graph`, `-g`) or the same key of
daemon.json; dockerd refuses to start with both. With userns-remap the real data-root is the subdirectory UID.GID.
What BuildKit mounts in a data-root is in buildkit.py.

By moby/moby, 20.10 to 28 (since 29 libnetwork and volume are below daemon): daemon/graphdriver/overlay2/overlay.go,
Get() and Put(), which umounts and removes `merged`; daemon/snapshotter/mount.go, Mount() and Unmount(), for the image
store, which Docker 29 uses by default; daemon/container_operations_unix.go, setupIPCDirs();
libnetwork/osl/namespace_linux.go for EXEC_ROOT/netns, whose files its collector unlinks each minute;
volume/local/local_unix.go, mount() and unmount(), after which `_data` stays.
"""

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from ..config.schema import Config
from ..model import Layout, MountClass, RecordState, Root, RootKind
from ..observe.processes import Daemon
from . import buildkit, docker_record
from .command_line import option
from .sources import Host

ENGINE = "docker"
COMMAND = "dockerd"

DATA_ROOT = b"/var/lib/docker"
EXEC_ROOT = b"/var/run/docker"
CONFIG_FILE = b"/etc/docker/daemon.json"

GRAPH_LAYOUT = (
    Layout(b"overlay2/*/merged", "overlay"),
    Layout(b"overlay/*/merged", "overlay"),
    Layout(b"rootfs/*/*", "overlay"),
    Layout(b"containers/*/mounts/shm", "tmpfs", MountClass.SHM),
    Layout(b"containers/*/shm", "tmpfs", MountClass.SHM),  # dockerd before 17.12
)
NETNS_LAYOUT = (Layout(b"*", "nsfs", MountClass.NETNS, is_file=True),)
VOLUME_LAYOUT = (Layout(b"*/_data", None, MountClass.VOLUME),)
LAYOUTS = (*GRAPH_LAYOUT, *NETNS_LAYOUT, *VOLUME_LAYOUT, *buildkit.WORKER_LAYOUT, *buildkit.TEMPORARY_LAYOUT)

_REMAPPED = re.compile(rb"\d+\.\d+")
_DATA_BASE = b"/volumes/metadata.db"


def roots(host: Host, config: Config) -> list[Root]:
    """The data-roots, their local volumes, and the network namespaces of running daemons. Raises OSError.

    The data-roots of daemons that have ended are among them, whether or not others run.
    """
    found = host.each(COMMAND, partial(_of_daemon, host))
    ended = host.ended(ENGINE, (root.path for root in found if root.layout == GRAPH_LAYOUT))
    stopped = ended if host.of(COMMAND) else dict.fromkeys((*ended, *_by_configuration(host)))
    graph = [_root(path, RootKind.GRAPH, GRAPH_LAYOUT, None) for path in stopped]
    return found + [each for root in graph for each in _beside(root)]


def records(root: Root, rels: Sequence[bytes]) -> list[RecordState]:
    """What dockerd's files below `root`, read in the caller's namespace, say of each mountpoint of `rels` below it."""
    return docker_record.states(root.path, rels) if root.kind is RootKind.GRAPH else [RecordState.UNKNOWN] * len(rels)


def container(root: Root, rel: bytes) -> str | None:
    """The container that dockerd's files name for a mountpoint. Raises: OSError and ValueError of a file."""
    return docker_record.container(root.path, rel)


def _of_daemon(host: Host, daemon: Daemon) -> Iterator[Root]:
    for path in _with_remapped(host, _data_root(host, daemon), daemon):
        yield from _beside(_root(path, RootKind.GRAPH, GRAPH_LAYOUT, daemon))
    netns = host.realpath(_setting(host, daemon, "exec-root", EXEC_ROOT) + b"/netns", daemon)
    if netns:
        yield _root(netns, RootKind.NETNS, NETNS_LAYOUT, daemon)


def _beside(root: Root) -> Iterator[Root]:
    """A data-root, and the roots in it."""
    yield root
    yield _volumes(root)
    yield from buildkit.of_docker(root)


def _volumes(root: Root) -> Root:
    """The directory of local volumes below a data-root."""
    return replace(root, path=root.path + b"/volumes", kind=RootKind.VOLUME, layout=VOLUME_LAYOUT, record=())


def _by_configuration(host: Host) -> tuple[bytes, ...]:
    """The data-root of a dockerd that would be started now."""
    configured = _configured(host, None, (b"data-root", b"graph")) or DATA_ROOT
    return _with_remapped(host, _absolute(configured), None)


def _data_root(host: Host, daemon: Daemon) -> bytes:
    """Where this dockerd has its data: beside the database of volumes, which it opens soon after its start.

    Its options only say where it should be: daemon.json may have been changed since dockerd read it.
    """
    try:
        data_base = host.open_file(daemon, _DATA_BASE)
    except OSError:
        data_base = None
    if data_base:
        path = data_base.removesuffix(_DATA_BASE)
        return os.path.dirname(path) if _REMAPPED.fullmatch(os.path.basename(path)) else path
    flag = option(daemon.argv, b"--data-root", b"--graph", b"-g")
    return _absolute(flag or _configured(host, daemon, (b"data-root", b"graph")) or DATA_ROOT)


def _with_remapped(host: Host, path: bytes, daemon: Daemon | None) -> tuple[bytes, ...]:
    """The data-root, if it is there, and its subdirectories for remapped user namespaces."""
    real = host.realpath(path, daemon)
    if real is None:
        return ()
    remapped = (name for name in host.names(real, daemon) if _REMAPPED.fullmatch(name))
    return (real, *(os.path.join(real, name) for name in remapped))


def _root(path: bytes, kind: RootKind, layout: tuple[Layout, ...], daemon: Daemon | None) -> Root:
    keeps = (os.fsdecode(path + b"/image"), os.fsdecode(path + b"/containers"))
    return Root(
        path=path,
        engine=ENGINE,
        kind=kind,
        layout=layout,
        home=daemon.namespace if daemon else None,
        home_known=daemon is not None,
        home_pid=daemon.pid if daemon and not daemon.own else None,
        record=keeps if kind is RootKind.GRAPH else (),
    )


def _setting(host: Host, daemon: Daemon, name: str, default: bytes) -> bytes:
    key = name.encode()
    return _absolute(option(daemon.argv, b"--" + key) or _configured(host, daemon, (key,)) or default)


def _absolute(path: bytes) -> bytes:
    """dockerd takes a relative path from its working directory; under systemd that is /."""
    return os.path.join(b"/", path)


def _configured(host: Host, daemon: Daemon | None, keys: tuple[bytes, ...]) -> bytes | None:
    """The first of these keys in daemon.json as a path; a file that can't be read is a gap, not a failure."""
    file = option(daemon.argv, b"--config-file") if daemon else None
    path = _absolute(file or CONFIG_FILE)
    try:
        data = host.read(path, daemon)
        parsed = json.loads(data) if data and data.strip() else {}
    except (OSError, ValueError, RecursionError) as error:
        host.gap(f"docker's {os.fsdecode(path)}", f"{type(error).__name__}: {error}")
        return None
    values = (parsed.get(key.decode()) for key in keys) if isinstance(parsed, dict) else ()
    return next((_bytes(value) for value in values if isinstance(value, str) and value), None)


def _bytes(text: str) -> bytes | None:
    """A path from JSON; None for what can't be one."""
    try:
        data = text.encode()
    except UnicodeEncodeError:
        return None  # a lone surrogate
    return None if b"\0" in data else data
