"""What kinds of topology there are: what a table of all that was tried is sorted by."""

import enum
from collections import Counter
from collections.abc import Callable, Iterator

from mountwarden.model import Mount
from mountwarden.mounts.graph import Graph

from tests.support.prove.steps import BASE, Kind


class Feature(enum.StrEnum):
    """Something that a topology has at the moment of the act."""

    PEERS = "a peer group in several namespaces"
    SLAVE = "a slave in another namespace than its master"
    CHAIN = "a slave of a slave"
    PRIVATE = "a copy whose parent receives nothing"
    LOCKED = "copies that a user namespace locks"
    OWNERS = "three or more user namespaces"
    SUBDIRECTORY = "a bind of a subdirectory"
    TWICE = "a file system twice in one namespace"
    SELF = "a directory bound below itself"
    STACK = "an overmount"
    HIGH = "a stack of three or more"
    TUCKED = "a mount tucked beneath another"
    BELOW = "mounts below mounts, three deep"
    UNBINDABLE = "an unbindable mount"
    OVERLAY = "an overlay"
    MOVED = "a moved mount"
    AGAIN = "a mountpoint removed and made again"
    SETNS = "a mount made from another namespace"
    FILE = "an open file"
    CWD = "a working directory"
    JAIL = "a process in a chroot"
    ALONE = "a namespace with none but a process in a chroot"
    GONE = "an umount before the action"


_BY_STEP = {
    Feature.MOVED: (Kind.MOVE,),
    Feature.AGAIN: (Kind.RMDIR,),
    Feature.SETNS: (Kind.ENTER,),
    Feature.FILE: (Kind.OPEN,),
    Feature.CWD: (Kind.CWD,),
    Feature.JAIL: (Kind.JAIL,),
    Feature.ALONE: (Kind.ALONE,),
    Feature.GONE: (Kind.UMOUNT, Kind.LAZY),
}


def features(graph: Graph, used: Counter[Kind], locked: frozenset[int], owners: int) -> frozenset[Feature]:
    """What a topology has, by its mounts and by the steps that were done."""
    mounts = [place.mount for place in graph.places.values() if place.mount.point.startswith(BASE)]
    found = {feature for feature, kinds in _BY_STEP.items() if any(used[kind] for kind in kinds)}
    found |= {feature for feature, has in _BY_MOUNT.items() if any(has(graph, mount) for mount in mounts)}
    found |= set(_of_groups(graph, mounts))
    found |= {Feature.LOCKED} if any(mount.id in locked for mount in mounts) else set()
    found |= {Feature.OWNERS} if owners > 2 else set()
    return frozenset(found)


def _of_groups(graph: Graph, mounts: list[Mount]) -> Iterator[Feature]:
    spaces: dict[int, set[int]] = {}
    spots: Counter[tuple[int, tuple[str, bytes]]] = Counter()
    masters = {mount.shared for mount in mounts if mount.shared and mount.master}
    for mount in mounts:
        inode = graph.places[mount.id].namespace
        spaces.setdefault(mount.shared, set()).add(inode)
        spots[inode, mount.identity] += 1
    if any(group and len(inodes) > 1 for group, inodes in spaces.items()):
        yield Feature.PEERS
    if any(mount.master and spaces.get(mount.master, set()) - {graph.places[mount.id].namespace} for mount in mounts):
        yield Feature.SLAVE
    if any(mount.master in masters for mount in mounts):
        yield Feature.CHAIN
    if max(spots.values(), default=0) > 1:
        yield Feature.TWICE


def _is_private_copy(graph: Graph, mount: Mount) -> bool:
    parent, dentry = graph.parent(mount), graph.dentry(mount)
    if parent is None or dentry is None or parent.shared or parent.master:
        return False
    return any(other.identity == mount.identity for other in graph.on_dentry(dentry) if other.id != mount.id)


def _is_tucked(graph: Graph, mount: Mount) -> bool:
    parent = graph.parent(mount)
    if parent is None or parent.unique is None or mount.unique is None:
        return False
    return graph.is_overmount(mount) and parent.unique > mount.unique


def _is_self(graph: Graph, mount: Mount) -> bool:
    parent = graph.parent(mount)
    return parent is not None and parent.device == mount.device


def _depth(graph: Graph, mount: Mount) -> int:
    depth, parent = 0, graph.parent(mount)
    while parent is not None and parent.point.startswith(BASE):
        depth, parent = depth + 1, graph.parent(parent)
    return depth


_BY_MOUNT: dict[Feature, Callable[[Graph, Mount], bool]] = {
    Feature.PRIVATE: _is_private_copy,
    Feature.SUBDIRECTORY: lambda _graph, mount: mount.root != b"/",
    Feature.SELF: _is_self,
    Feature.STACK: lambda graph, mount: graph.is_overmount(mount),
    Feature.HIGH: lambda graph, mount: graph.bottom(mount)[1] > 1,
    Feature.TUCKED: _is_tucked,
    Feature.BELOW: lambda graph, mount: _depth(graph, mount) > 2,
    Feature.UNBINDABLE: lambda _graph, mount: mount.unbindable,
    Feature.OVERLAY: lambda _graph, mount: mount.fstype == "overlay",
}
