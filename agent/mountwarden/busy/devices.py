"""What of the kernel itself keeps a target busy: swap, loop devices, and devices made of it."""

import glob
import os
from collections.abc import Iterator

from ..mounts.table import below, join
from ..observe import block_devices
from ..observe.processes import read_or_empty
from .answer import BusyTarget, Keeper
from .mounts import on_target
from .world import World


def keepers(target: BusyTarget, world: World) -> Iterator[Keeper]:
    """Swap areas and loop devices on the target's files, and block devices on top of it."""
    yield from _swaps(target, world)
    yield from _loops(target, world)
    for node in target.nodes:
        for path in sorted(glob.glob(f"/sys/dev/block/{node}/holders/*")):
            name = os.path.basename(path)
            yield Keeper("holder", f"/dev/{name}".encode(), _letting_go(name), detail="a block device made of it")


def _swaps(target: BusyTarget, world: World) -> Iterator[Keeper]:
    for path, kind in block_devices.swaps():
        if on_target(path, target, world.home) if kind == b"file" else _node(path) in target.nodes:
            yield Keeper("swap", path, "swapoff it", detail=os.fsdecode(kind))


def _loops(target: BusyTarget, world: World) -> Iterator[Keeper]:
    mounted = frozenset(place.mount.device for place in world.graph.places.values())
    for name, backing in block_devices.loops():
        device = f"/dev/{name}"
        on = block_devices.backing_device(name)
        whole = target.path is None and target.mounts is None and on == target.device
        if on not in mounted:
            backing = block_devices.name_at_setup(name) or backing  # the kernel's path is that below a mount that went
        if whole or _on(backing, target, world) or _node(backing) in target.nodes:
            yield Keeper("loop", backing, f"losetup --detach {device}", detail=f"backs {device}")
        elif target.nodes and read_or_empty(f"/sys/block/{name}/dev").decode().strip() == target.device:
            # The device itself: what it is bound to, which unmounting does not undo.
            yield Keeper("loop", backing, f"losetup --detach {device}", detail=f"{device} is set up on it")


def _on(backing: bytes, target: BusyTarget, world: World) -> bool:
    """Whether a loop device's file is on the target; of a path by which it was set up, 63 bytes are known."""
    if on_target(backing, target, world.home):
        return True
    mount = world.home.containing(backing) if len(backing) == block_devices.LONGEST_NAME else None
    if mount is None or mount.device != target.device or target.path is None or target.mounts is not None:
        return False
    return target.path.startswith(join(mount.root, below(mount.point, backing) or b""))


def _node(path: bytes) -> str | None:
    """major:minor of a block device's node below /dev, by sysfs, so that no foreign file system is asked."""
    if not path.startswith(b"/dev/"):
        return None
    text = read_or_empty("/sys/class/block/" + os.fsdecode(os.path.basename(path)) + "/dev")
    return text.decode().strip() or None


def _letting_go(name: str) -> str:
    if name.startswith("dm-"):
        label = read_or_empty(f"/sys/class/block/{name}/dm/name").decode("utf-8", "surrogateescape").strip()
        crypt = read_or_empty(f"/sys/class/block/{name}/dm/uuid").startswith(b"CRYPT-")
        return f"cryptsetup close {label}" if crypt else f"dmsetup remove {label}"
    return f"mdadm --stop /dev/{name}" if name.startswith("md") else f"give up /dev/{name}"
