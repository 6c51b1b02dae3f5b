"""What of the kernel itself keeps a target busy: swap, loop devices, and devices made of it."""

import glob
import os
from collections.abc import Iterator

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
    for name, backing in block_devices.loops():
        device = f"/dev/{name}"
        whole = target.path is None and target.mounts is None and block_devices.backing_device(name) == target.device
        if whole or on_target(backing, target, world.home) or _node(backing) in target.nodes:
            yield Keeper("loop", backing, f"losetup --detach {device}", detail=f"backs {device}")
        elif target.nodes and read_or_empty(f"/sys/block/{name}/dev").decode().strip() == target.device:
            # The device itself: what it is bound to, which unmounting does not undo.
            yield Keeper("loop", backing, f"losetup --detach {device}", detail=f"{device} is set up on it")


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
