"""Containers, pods and instances by name or id, by the files of their engines: of root first, then of users."""

import os
from collections.abc import Iterable, Iterator

from ..model import Gap, Root, RootKind
from . import bundles, instances, stores, user_stores
from .known_containers import KnownContainer, chosen


def find(asked: str, roots: Iterable[Root]) -> tuple[KnownContainer | None, tuple[Gap, ...]]:
    """The container of that name or id, of the engines whose roots these are, else of users; and what hung.

    A root that another namespace than our own shows is left out: what is at its path here is another directory.
    Whatever users call their containers, those of root are found by their names.

    Raises: MountwardenError where several are meant.
    """
    graphs = [root for root in roots if root.kind is RootKind.GRAPH and root.home_pid is None]
    found = chosen(asked, _of_root(graphs))
    if found is not None:
        return found, ()
    every, gaps = user_stores.every()
    return chosen(asked, every), gaps


def _of_root(roots: Iterable[Root]) -> Iterator[KnownContainer]:
    roots = sorted(roots, key=lambda root: root.engine == "containerd")  # whose tasks are those of Docker too
    for root in roots:
        path = os.fsdecode(root.path)
        if root.engine == "docker":
            yield from stores.docker(path)
        elif root.engine == "containers-storage":
            run = os.path.dirname(os.path.dirname(root.record[0])) if root.record else path
            yield from (bundles.crio(run, one) for one in stores.podman(path))
        elif root.engine == "containerd":
            yield from bundles.containerd(path)
    for directory, engine in instances.DIRECTORIES.items():
        yield from instances.instances(directory, engine)
