"""CRI-O: the namespaces that it keeps for pods, each a file on which nsfs is mounted.

crio.conf(5), table crio.runtime: `namespaces_dir`, default /var/run, or `--namespaces-dir`. Its program pinns makes
DIRECTORY/{ipcns,netns,userns,utsns}/NAME (cri-o/cri-o pinns/src/pinns.c, bind_ns();
internal/config/nsmgr/nsmgr_linux.go, once nsmgr.go, NewPodNamespaces()), and CRI-O unmounts and then unlinks the file
when the pod goes (internal/config/nsmgr, Remove()), which takes every copy along. /run/netns is module netns's too, and
then counts as that. There is no record of these mounts but the files themselves. CRI-O's layers are
containers/storage's.
"""

import os
from collections.abc import Iterator
from functools import partial

from ..config.schema import Config
from ..model import Layout, MountClass, Root, RootKind
from ..observe.processes import Daemon
from .command_line import option
from .containers_storage import CRIO as COMMAND
from .containers_storage import crio_files, path_of, table_of
from .sources import Host

ENGINE = "crio"

DIRECTORY = b"/var/run"
LAYOUTS = (Layout(b"*", "nsfs", MountClass.NETNS, is_file=True),)

_NAMES = (b"ipcns", b"netns", b"userns", b"utsns")
_UNSHARED = (b"ipcns", b"userns", b"utsns")
"""Directories that no other program makes: they are CRI-O's where none runs."""


def roots(host: Host, _config: Config) -> list[Root]:
    """The directories of each crio, else those in the default place that are there. Raises OSError."""
    found = host.each(COMMAND, partial(_of_daemon, host))
    if host.of(COMMAND):
        return found
    usual = (host.realpath(os.path.join(DIRECTORY, name)) for name in _UNSHARED)
    return [_root(path, None) for path in usual if path]


def _of_daemon(host: Host, daemon: Daemon) -> Iterator[Root]:
    directory = DIRECTORY
    for file in crio_files(host, daemon):
        directory = path_of(table_of(table_of(file, "crio"), "runtime").get("namespaces_dir")) or directory
    directory = option(daemon.argv, b"--namespaces-dir") or directory
    for name in _NAMES:
        if path := host.realpath(os.path.join(directory, name), daemon):
            yield _root(path, daemon)


def _root(path: bytes, daemon: Daemon | None) -> Root:
    return Root(
        path=path,
        engine=ENGINE,
        kind=RootKind.NETNS,
        layout=LAYOUTS,
        home=daemon.namespace if daemon else None,
        home_known=daemon is not None,
        home_pid=daemon.pid if daemon and not daemon.own else None,
    )
