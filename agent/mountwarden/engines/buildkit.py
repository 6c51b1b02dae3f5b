"""BuildKit: the file systems that a build's steps run in, of dockerd's own BuildKit and of a buildkitd beside it.

A worker's directory has `executor/ID/rootfs`, in which a step runs (moby/buildkit executor/runcexecutor/executor.go,
Run() at v0.12 to master: mounted, then umounted, then the whole directory ID is removed: ID is never used again), and
`cachemounts/NAME`, where snapshots that several steps use at once are mounted (cache/refs.go, sharableMountPool: its
directory is removed after the umount). dockerd has one worker, in DATA_ROOT/buildkit (moby/moby
builder/builder-next/controller.go, newController(); executor_linux.go, once executor_unix.go, newExecutor(); since 29
below daemon/internal), and makes DATA_ROOT/tmp its TMPDIR (daemon/daemon.go, prepareTempDir()), where BuildKit mounts
what it reads as `buildkit-mountN` (snapshot/localmounter_linux.go, Mount(); removed after the umount; a single file is
mounted in it, and not guarded).

buildkitd(8) has a directory for each worker, named by kind and snapshotter (worker/runc/runc.go, NewWorkerOpt(); cmd/
buildkitd/main_containerd_worker.go), in `--root` or `root` of /etc/buildkit/buildkitd.toml, default /var/lib/buildkit
(util/appdefaults/appdefaults_unix.go). Its TMPDIR is that of any program and not guarded. It keeps no record.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

from ..config.schema import Config
from ..model import Layout, Root, RootKind
from ..observe.processes import Daemon
from .command_line import option
from .file_cache import toml
from .sources import Host

ENGINE = "buildkit"
COMMAND = "buildkitd"

ROOT = b"/var/lib/buildkit"
CONFIG_FILE = b"/etc/buildkit/buildkitd.toml"

WORKER_LAYOUT = (Layout(b"executor/*/rootfs", None), Layout(b"cachemounts/*", None))
TEMPORARY_LAYOUT = (Layout(b"*", None),)
DAEMON_LAYOUT = tuple(replace(layout, pattern=b"*/" + layout.pattern) for layout in WORKER_LAYOUT)
LAYOUTS = (*WORKER_LAYOUT, *TEMPORARY_LAYOUT, *DAEMON_LAYOUT)


def roots(host: Host, _config: Config) -> list[Root]:
    """The root of each buildkitd that runs or ran, else the default one where it is there. Raises OSError."""
    found = host.each(COMMAND, partial(_of_daemon, host))
    ended = host.ended(ENGINE, (root.path for root in found))
    usual = () if host.of(COMMAND) else (host.realpath(_configured(host, CONFIG_FILE, None) or ROOT),)
    return found + [_root(path, None) for path in dict.fromkeys((*ended, *usual)) if path]


def of_docker(root: Root) -> Iterator[Root]:
    """The roots of BuildKit in a data-root of dockerd, whose home is dockerd's."""
    yield replace(root, path=root.path + b"/buildkit", layout=WORKER_LAYOUT, record=())
    yield replace(root, path=root.path + b"/tmp", layout=TEMPORARY_LAYOUT, record=())


def _of_daemon(host: Host, daemon: Daemon) -> Iterator[Root]:
    file = option(daemon.argv, b"--config") or CONFIG_FILE
    path = host.realpath(option(daemon.argv, b"--root") or _configured(host, file, daemon) or ROOT, daemon)
    if path:
        yield _root(path, daemon)


def _root(path: bytes, daemon: Daemon | None) -> Root:
    return Root(
        path=path,
        engine=ENGINE,
        kind=RootKind.GRAPH,
        layout=DAEMON_LAYOUT,
        home=daemon.namespace if daemon else None,
        home_known=daemon is not None,
        home_pid=daemon.pid if daemon and not daemon.own else None,
    )


def _configured(host: Host, file: bytes, daemon: Daemon | None) -> bytes | None:
    """`root` of the configuration; a file that can't be read is a gap, not a failure."""
    try:
        table: Mapping[str, object] = toml(host.read(file, daemon) or b"")
    except (OSError, ValueError, RecursionError) as error:
        host.gap(f"buildkit's {os.fsdecode(file)}", f"{type(error).__name__}: {error}")
        return None
    value = table.get("root")
    is_path = isinstance(value, str) and value.startswith("/") and "\0" not in value
    return os.path.normpath(str(value).encode()) if is_path else None
