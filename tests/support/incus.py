"""Incus on a test host: system containers from an image of our own, in a pool of directories, without a network."""

from tests.support import rootfs
from tests.support.machine import Machine

TMPFS = {"/var/lib/incus": "mode=711"}
"""What the host is booted with: incusd does not get through its start where its directory is on an overlay."""
POOL = "pool"
IMAGE = "bb"

_IDS = "root:1000000:65536\n"
_MAKE_IMAGE = """
set -e
cd "$(mktemp -d)"
mkdir -p rootfs/sbin
tar -C rootfs -xf "$1"
ln -s /bin/busybox rootfs/sbin/init
echo "::respawn:/bin/sleep 1000" > rootfs/etc/inittab
printf "architecture: $(uname -m)\\ncreation_date: 1\\n" > metadata.yaml
tar -cf image.tar metadata.yaml rootfs
incus image import image.tar --alias "$2"
"""


def start(host: Machine) -> None:
    """Start incusd by its socket, with a pool and the image. The host was booted with `TMPFS`."""
    for name in ("subuid", "subgid"):
        host.write(f"/etc/{name}", _IDS)
    host.run("systemctl", "start", "--no-block", "incus.socket")
    host.run("incus", "admin", "waitready", "--timeout", "30")
    host.run("incus", "storage", "create", POOL, "dir")
    host.run("sh", "-c", _MAKE_IMAGE, "sh", rootfs.ARCHIVE, IMAGE)


def launch(host: Machine, name: str, *options: str) -> None:
    """A running container; `options` as of `incus launch`."""
    host.run("incus", "launch", IMAGE, name, "--quiet", "--storage", POOL, "--no-profiles", *options)


def delete(host: Machine, *names: str) -> None:
    """End and remove containers."""
    host.run("incus", "delete", "--quiet", "--force", *names)
