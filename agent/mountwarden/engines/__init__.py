"""A small module an engine: where its roots are, how they are laid out, whose view of them counts, what it recorded.

Each module offers `roots(host, config)` and, where the engine keeps a record, `records(root, rels)`.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from ..config import Config
from ..errors import MountwardenError
from ..model import Gap, RecordState, Root
from ..observe.enter import in_namespace
from . import containerd, containers_storage, custom, docker
from .host import COMMANDS, Host

__all__ = ["COMMANDS", "Host", "discover", "record", "records"]

_ROOTS: dict[str, Callable[[Host, Config], list[Root]]] = {
    docker.ENGINE: docker.roots,
    containers_storage.ENGINE: containers_storage.roots,
    containerd.ENGINE: containerd.roots,
}
_RECORDS: dict[str, Callable[[Root, Sequence[bytes]], list[RecordState]]] = {
    docker.ENGINE: docker.records,
    containers_storage.ENGINE: containers_storage.records,
    containerd.ENGINE: containerd.records,
}


def discover(host: Host, config: Config) -> tuple[list[Root], list[Gap]]:
    """The roots of the enabled engines and of the configuration, and what of them could not be read. Never raises.

    Where two modules name one path in one home, the first in the order of `config.engines` stands. A `[[root]]` entry
    that names an engine's root only adds its patterns to that root's layout.
    """
    host.take_gaps()
    found: dict[tuple[bytes, int | None], Root] = {}
    for name in (*config.engines, custom.ENGINE):
        for root in _guarded(name, host, config):
            _add(found, root)
    return list(found.values()), host.take_gaps()


def _add(found: dict[tuple[bytes, int | None], Root], root: Root) -> None:
    key = root.path, root.home if root.home_pid is not None else None
    known = found.setdefault(key, root)
    if known is not root and root.engine == custom.ENGINE:
        patterns = {layout.pattern for layout in known.layout}
        added = tuple(layout for layout in root.layout if layout.pattern not in patterns)
        found[key] = replace(known, layout=known.layout + added)


def records(root: Root, rels: Sequence[bytes]) -> list[RecordState]:
    """What the engine itself wrote down of each mountpoint of `rels` (paths below `root`), as its home sees the files.

    One forked child for all of them where home is not our own namespace; unknown where it can't be asked. Never raises.
    """
    read = _RECORDS.get(root.engine)
    if read is None or not rels:
        return [RecordState.UNKNOWN] * len(rels)
    ask = partial(read, root, tuple(rels))
    try:
        return ask() if root.home_pid is None else in_namespace(root.home_pid, ask, inode=root.home)
    except (OSError, MountwardenError):
        return [RecordState.UNKNOWN] * len(rels)


def record(root: Root, layer: bytes, rel: bytes) -> RecordState:
    """`records` of a single mountpoint. `layer` is for the reader: `rel` holds it."""
    return records(root, (rel,))[0]


def _guarded(name: str, host: Host, config: Config) -> list[Root]:
    """One engine's roots; its failure is a gap and must not blind the agent to the others."""
    try:
        return custom.roots(host, config) if name == custom.ENGINE else _ROOTS[name](host, config)
    except (OSError, MountwardenError) as error:
        host.gap(f"roots of {name}", os.fsdecode(os.fsencode(str(error))))
    except Exception as error:
        host.gap(f"roots of {name}", f"{type(error).__name__}: {error}")
    return []
