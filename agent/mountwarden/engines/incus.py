"""Incus and LXD: the volumes of their storage pools, and the disks that they hand to instances.

Below the daemon's directory: storage-pools/POOL/TYPE/NAME and storage-pools/POOL/TYPE-snapshots/NAME/SNAPSHOT (lxc/
incus internal/server/storage/drivers/utils.go, GetVolumeMountPath(), at 6.0 to 7.0; the same in canonical/lxd
lxd/storage/drivers/utils.go), where volumes on block devices, ZFS and Ceph are mounted, each time that an instance
starts; and devices/INSTANCE/NAME, where a disk is mounted before it goes into the instance (internal/server/device/
disk.go, createDevice() and getDevicePath()). A pool's own file system (storage-pools/POOL) stays mounted and is no
mount of the layout. A volume's directory stays until the volume is deleted (UnmountVolume() of each driver), so that
nothing removes the mountpoint at an umount. No record of mounts is kept in files.

The directory is /var/lib/incus or $INCUS_DIR (internal/server/sys/os.go; internal/util/paths.go, VarPath()),
/var/lib/lxd or $LXD_DIR for LXD, and for LXD's snap /var/snap/lxd/common/lxd, in the snap's own mount namespace.
"""

from collections.abc import Iterator
from functools import partial

from ..config.schema import Config
from ..model import Layout, MountClass, Root, RootKind
from ..observe.processes import Daemon
from .sources import Host

ENGINE = "incus"

DIRECTORIES = {
    "incusd": (b"/var/lib/incus",),
    "lxd": (b"/var/snap/lxd/common/lxd", b"/var/lib/lxd"),
}
"""By the daemon's command name, the first that is there first."""

_DATA_BASE = b"/database/local.db"

_PATTERNS = (
    b"storage-pools/*/*/*",
    b"storage-pools/*/containers-snapshots/*/*",
    b"storage-pools/*/custom-snapshots/*/*",
    b"storage-pools/*/virtual-machines-snapshots/*/*",
    b"devices/*/*",
)
LAYOUTS = tuple(Layout(pattern, None, MountClass.VOLUME) for pattern in _PATTERNS)


def roots(host: Host, _config: Config) -> list[Root]:
    """The directory of each daemon that runs or ran, else those that are there. Raises OSError."""
    found: list[Root] = []
    for command, usual in DIRECTORIES.items():
        running = host.each(command, partial(_of_daemon, host, usual))
        ended = host.ended(f"{ENGINE} {command}", (root.path for root in running))
        stopped = () if host.of(command) else tuple(map(host.realpath, usual))
        found += running
        found += [_root(path, None) for path in dict.fromkeys((*ended, *stopped)) if path]
    return found


def _of_daemon(host: Host, usual: tuple[bytes, ...], daemon: Daemon) -> Iterator[Root]:
    for path in (_by_data_base(host, daemon), *usual):
        if path and (real := host.realpath(path, daemon)):
            yield _root(real, daemon)
            return


def _by_data_base(host: Host, daemon: Daemon) -> bytes | None:
    """The directory of the database that the daemon has open, wherever its environment has put it."""
    try:
        path = host.open_file(daemon, _DATA_BASE)
    except OSError:
        path = None
    return path.removesuffix(_DATA_BASE) if path else None


def _root(path: bytes, daemon: Daemon | None) -> Root:
    return Root(
        path=path,
        engine=ENGINE,
        kind=RootKind.VOLUME,
        layout=LAYOUTS,
        home=daemon.namespace if daemon else None,
        home_known=daemon is not None,
        home_pid=daemon.pid if daemon and not daemon.own else None,
        rmdir_on_put=False,
    )
