"""Containers, pods and instances by name or id, by the files of their engines: of root first, then of users."""

import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from ..engines import incus
from ..model import Gap, Root, RootKind
from ..observe.apart import apart
from . import bundles, instances, stores, user_stores
from .known_containers import KnownContainer, chosen

_Read = Callable[[], list[KnownContainer]]


def find(asked: str, roots: Iterable[Root]) -> tuple[KnownContainer | None, tuple[Gap, ...]]:
    """The container of that name or id, of the engines whose roots these are, else of users; and what hung.

    A root that another namespace than our own shows is left out: what is at its path here is another directory.
    Whatever users call their containers, those of root are found by their names.

    Raises: MountwardenError where several are meant.
    """
    stored, hung = apart(dict(_of_root(root for root in roots if root.home_pid is None)))
    gaps = tuple(Gap(f"the containers in {path}", "it does not answer") for path in hung)
    found = chosen(asked, (one for some in stored.values() for one in some))
    if found is not None:
        return found, gaps
    every, more = user_stores.every()
    return chosen(asked, every), (*gaps, *more)


def _of_root(roots: Iterable[Root]) -> Iterator[tuple[str, _Read]]:
    """By directory, what reads the containers there."""
    roots = sorted(roots, key=lambda root: root.engine == "containerd")  # whose tasks are those of Docker too
    for root in roots:
        path = os.fsdecode(root.path)
        if root.engine == "docker" and root.record:
            yield path, partial(_all, stores.docker, path)
        elif root.engine == "containers-storage" and root.kind is RootKind.GRAPH:
            run = os.path.dirname(os.path.dirname(root.record[0])) if root.record else path
            yield path, partial(_of_store, run, path)
        elif root.engine == "containerd":
            yield path, partial(_all, bundles.containerd, path)
        elif root.engine == incus.ENGINE:
            engine = "LXD" if root.path in incus.DIRECTORIES["lxd"] else "Incus"
            yield path, partial(_all, instances.instances, path, engine)


def _all(read: Callable[..., Iterator[KnownContainer]], *of: str) -> list[KnownContainer]:
    return list(read(*of))


def _of_store(run_directory: str, path: str) -> list[KnownContainer]:
    return [bundles.crio(run_directory, one) for one in stores.podman(path)]
