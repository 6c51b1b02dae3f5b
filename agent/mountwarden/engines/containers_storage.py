"""containers/storage, below podman, buildah and CRI-O: the stores of root, as storage.conf and crio.conf name them.

containers-storage.conf(5): /etc/containers/storage.conf replaces /usr/share/containers/storage.conf as a whole. Newer
versions merge drop-ins on top, older ones do not know them: where drop-ins name another place, both are roots. A
store's `overlay` directory is made a private bind of itself at each start, unless skip_mount_home is set
(containers/storage drivers/overlay/overlay.go, Init(); Put() unmounts and then renames an empty directory over the
mountpoint, at 1.40 to 1.59). Its record is in containers_storage_record.py. Stores of users (rootless podman) are no
roots: docs/engines.md says why.

podman's volumes with mount options (`podman volume create -o type=… -o device=…`) are mounted on GRAPHROOT/volumes/
NAME/_data when the first container starts, in the namespace of whoever calls podman, and unmounted lazily after the
last one (containers/podman libpod/volume_internal_common.go, once volume_internal_linux.go, mount() and unmount()); the
directory stays until the volume is removed. Their count is in podman's database, which is not read. `volume_path` of
containers.conf(5) puts them elsewhere: a `[[root]]` entry guards that.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ..config.schema import Config
from ..model import Layout, MountClass, RecordState, Root, RootKind
from ..observe.processes import Daemon
from . import containers_storage_record
from .command_line import option
from .file_cache import toml
from .sources import Host

ENGINE = "containers-storage"
CRIO = "crio"

CONFIG_FILES = (b"/etc/containers/storage.conf", b"/usr/share/containers/storage.conf")
"""The first that is there is the whole configuration."""
DROP_INS = (
    b"/usr/share/containers/storage.conf.d",
    b"/usr/share/containers/storage.rootful.conf.d",
    b"/etc/containers/storage.conf.d",
    b"/etc/containers/storage.rootful.conf.d",
)
CRIO_FILE = b"/etc/crio/crio.conf"
CRIO_DROP_INS = b"/etc/crio/crio.conf.d"

_SHM = b"overlay-containers/*/userdata/shm"
GRAPH_LAYOUT = (Layout(b"overlay/*/merged", "overlay"), Layout(_SHM, "tmpfs", MountClass.SHM))
RUN_LAYOUT = (Layout(_SHM, "tmpfs", MountClass.SHM),)
VOLUME_LAYOUT = (Layout(b"*/_data", None, MountClass.VOLUME),)
LAYOUTS = (*GRAPH_LAYOUT, *RUN_LAYOUT, *VOLUME_LAYOUT)

_Table = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Store:
    """Where one store is, and what of its configuration matters here."""

    graphroot: bytes = b"/var/lib/containers/storage"
    runroot: bytes = b"/run/containers/storage"
    driver: str = "overlay"
    skip_mount_home: bool = False


def roots(host: Host, config: Config) -> list[Root]:
    """The stores of root; one that CRI-O uses has CRI-O's namespace as its home. Raises OSError."""

    def of_crio(daemon: Daemon) -> Iterator[Root]:
        for store in _stores(host, daemon):
            yield from _roots(host, _of_crio(host, daemon, store), daemon)

    found = {root.path: root for store in _stores(host, None) for root in _roots(host, store, None)}
    return list((found | {root.path: root for root in host.each(CRIO, of_crio)}).values())


def records(root: Root, rels: Sequence[bytes]) -> list[RecordState]:
    """What the store's files, read in the caller's namespace, say of each mountpoint of `rels` below `root`."""
    return containers_storage_record.states(root.record, rels)


def container(root: Root, rel: bytes) -> str | None:
    """The container that the store's files name for a mountpoint. Raises: OSError and ValueError of a file."""
    return containers_storage_record.container(root.record, rel)


def _roots(host: Host, store: Store, daemon: Daemon | None) -> Iterable[Root]:
    if store.driver not in ("overlay", "overlay2", ""):
        return
    if path := host.realpath(store.graphroot, daemon):
        yield _root(path, GRAPH_LAYOUT, store, daemon)
        if daemon is None and (volumes := host.realpath(path + b"/volumes")):
            yield _volumes(volumes)
    if daemon and (path := host.realpath(store.runroot, daemon)):
        yield replace(_root(path, RUN_LAYOUT, store, daemon), wants_private=False, record=())


def _root(path: bytes, layout: tuple[Layout, ...], store: Store, daemon: Daemon | None) -> Root:
    record = (store.runroot + b"/overlay-layers/mountpoints.json", path + b"/overlay-layers/layers.json")
    return Root(
        path=path,
        engine=ENGINE,
        kind=RootKind.GRAPH,
        layout=layout,
        home=daemon.namespace if daemon else None,
        home_pid=daemon.pid if daemon and not daemon.own else None,
        record=tuple(os.fsdecode(each) for each in record),
        wants_private=not store.skip_mount_home,
        daemonless=daemon is None,
    )


def _volumes(path: bytes) -> Root:
    """podman's volumes below a store: any process that calls podman mounts them, in its own namespace."""
    return Root(path, ENGINE, RootKind.VOLUME, VOLUME_LAYOUT, home=None, rmdir_on_put=False, daemonless=True)


def _stores(host: Host, daemon: Daemon | None) -> list[Store]:
    """One store; two where drop-ins, which only newer versions read, change it."""
    base = next((file for path in CONFIG_FILES if (file := _toml(host, path, daemon)) is not None), {})
    plain = _store(table_of(base, "storage"), Store())
    merged = plain
    for file in _drop_ins(host, DROP_INS, daemon):
        merged = _store(table_of(file, "storage"), merged)
    return [plain] if merged == plain else [merged, plain]


def _of_crio(host: Host, daemon: Daemon, store: Store) -> Store:
    """crio.conf(5): root, runroot, storage_driver and storage_option override storage.conf; flags override both."""
    for file in crio_files(host, daemon):
        store = _of_crio_table(table_of(file, "crio"), store)
    flags = {"root": option(daemon.argv, b"--root", b"-r"), "runroot": option(daemon.argv, b"--runroot")}
    return _of_crio_table({key: os.fsdecode(value) for key, value in flags.items() if value}, store)


def crio_files(host: Host, daemon: Daemon) -> Iterator[_Table]:
    """crio.conf and its drop-ins as CRI-O reads them, the last word last. Raises: OSError."""
    main = option(daemon.argv, b"--config", b"-c") or CRIO_FILE
    directory = option(daemon.argv, b"--config-dir", b"-d") or CRIO_DROP_INS
    yield _toml(host, main, daemon) or {}
    yield from _drop_ins(host, (directory,), daemon)


def _of_crio_table(table: _Table, store: Store) -> Store:
    options = table.get("storage_option")
    listed = [str(each).partition("=") for each in options] if isinstance(options, list) else []
    skip = [_true(value) for key, _, value in listed if key.endswith("overlay.skip_mount_home")]
    return Store(
        graphroot=path_of(table.get("root")) or store.graphroot,
        runroot=path_of(table.get("runroot")) or store.runroot,
        driver=_text(table.get("storage_driver")) or store.driver,
        skip_mount_home=skip[-1] if skip else store.skip_mount_home,
    )


def _store(storage: _Table, over: Store) -> Store:
    options = table_of(storage, "options")
    skip = table_of(options, "overlay").get("skip_mount_home", options.get("skip_mount_home"))
    return Store(
        graphroot=path_of(storage.get("graphroot")) or over.graphroot,
        runroot=path_of(storage.get("runroot")) or over.runroot,
        driver=_text(storage.get("driver")) or over.driver,
        skip_mount_home=over.skip_mount_home if skip is None else _true(skip),
    )


def _drop_ins(host: Host, directories: Iterable[bytes], daemon: Daemon | None) -> Iterable[_Table]:
    """Drop-ins by name, those of a later directory in place of an earlier one's of the same name."""
    files = {
        name: os.path.join(directory, name)
        for directory in directories
        for name in host.names(directory, daemon)
        if name.endswith(b".conf") or not name.count(b".")
    }
    for name in sorted(files):
        yield _toml(host, files[name], daemon) or {}


def _toml(host: Host, path: bytes, daemon: Daemon | None) -> _Table | None:
    """The file as a table; None where there is none. One that can't be read is a gap, and counts as empty."""
    try:
        data = host.read(path, daemon)
        return None if data is None else toml(data)
    except (OSError, ValueError, RecursionError) as error:
        host.gap(f"containers/storage's {os.fsdecode(path)}", f"{type(error).__name__}: {error}")
        return {}


def table_of(table: _Table, key: str) -> _Table:
    """A table within a table; empty where there is none."""
    value = table.get(key)
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def path_of(value: object) -> bytes | None:
    """An absolute path; containers/storage expands variables of the environment, which are root's own here."""
    text = _text(value).replace("$HOME", "/root").replace("$UID", "0")
    return os.path.normpath(os.fsencode(text)) if text.startswith("/") and "\0" not in text else None


def _true(value: object) -> bool:
    """As Go's strconv.ParseBool reads it."""
    return value is True or value in ("1", "t", "T", "true", "True", "TRUE")
