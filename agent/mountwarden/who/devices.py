"""What of the kernel itself keeps a target busy: swap, loop devices, and devices made of it."""

import glob
import os
from collections.abc import Iterator

from ..observe import loops, procs
from ..observe.mountinfo import unescape
from .facts import Keeper, Target
from .mounts import on_target
from .tables import World


def keepers(target: Target, world: World) -> Iterator[Keeper]:
    """Swap areas and loop devices on the target's files, and block devices on top of it."""
    yield from _swaps(target, world)
    yield from _loops(target, world)
    for node in target.nodes:
        for path in sorted(glob.glob(f"/sys/dev/block/{node}/holders/*")):
            name = os.path.basename(path)
            yield Keeper("holder", f"/dev/{name}".encode(), _letting_go(name), detail="a block device made of it")


def _swaps(target: Target, world: World) -> Iterator[Keeper]:
    """proc_swaps(5): a header, then a path, a type and numbers a line."""
    for line in _read("/proc/swaps").splitlines()[1:]:
        path, kind = [*line.split(), b"", b""][:2]
        path = unescape(path)
        if on_target(path, target, world.home) if kind == b"file" else _node(path) in target.nodes:
            yield Keeper("swap", path, "swapoff it", detail=os.fsdecode(kind))


def _loops(target: Target, world: World) -> Iterator[Keeper]:
    for path in sorted(glob.glob("/sys/block/loop*/loop/backing_file")):
        backing = _read(path).rstrip(b"\n").removesuffix(b" (deleted)")
        device = "/dev/" + path.split("/")[3]
        whole = target.path is None and loops.backing_device(path.split("/")[3]) == target.device
        if whole or on_target(backing, target, world.home) or _node(backing) in target.nodes:
            yield Keeper("loop", backing, f"losetup --detach {device}", detail=f"backs {device}")
        elif target.nodes and _read(f"{os.path.dirname(path)}/../dev").decode().strip() == target.device:
            # The device itself: what it is bound to, which unmounting does not undo.
            yield Keeper("loop", backing, f"losetup --detach {device}", detail=f"{device} is set up on it")


def _node(path: bytes) -> str | None:
    """major:minor of a block device's node below /dev, by sysfs, so that no foreign file system is asked."""
    if not path.startswith(b"/dev/"):
        return None
    text = _read("/sys/class/block/" + os.fsdecode(os.path.basename(path)) + "/dev")
    return text.decode().strip() or None


def _letting_go(name: str) -> str:
    if name.startswith("dm-"):
        label = _read(f"/sys/class/block/{name}/dm/name").decode("utf-8", "surrogateescape").strip()
        crypt = _read(f"/sys/class/block/{name}/dm/uuid").startswith(b"CRYPT-")
        return f"cryptsetup close {label}" if crypt else f"dmsetup remove {label}"
    return f"mdadm --stop /dev/{name}" if name.startswith("md") else f"give up /dev/{name}"


def _read(path: str) -> bytes:
    try:
        return procs.read(path)
    except OSError:
        return b""
