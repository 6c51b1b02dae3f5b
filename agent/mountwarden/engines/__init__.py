"""A module for each engine: where its roots are, their layout, their home, and what the engine recorded of its mounts.

The home of a root is the mount namespace whose mounts count: that of the engine's daemon, else PID 1's.

Each module offers `roots(host, config)` and, where the engine keeps a record, `records(root, rels)`.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from ..config.schema import Config
from ..errors import MountwardenError
from ..model import Gap, Layout, Match, RecordState, Root
from ..observe.enter import in_namespace
from . import (
    block_devices,
    buildkit,
    containerd,
    containers_storage,
    crio,
    custom,
    docker,
    incus,
    kubelet,
    nerdctl,
    netns,
)
from .sources import COMMANDS, Host

__all__ = ["COMMANDS", "LAYOUTS", "Host", "container", "discover", "record", "recorded", "records"]

_ROOTS: dict[str, Callable[[Host, Config], list[Root]]] = {
    docker.ENGINE: docker.roots,
    containers_storage.ENGINE: containers_storage.roots,
    containerd.ENGINE: containerd.roots,
    kubelet.ENGINE: kubelet.roots,
    netns.ENGINE: netns.roots,
    buildkit.ENGINE: buildkit.roots,
    crio.ENGINE: crio.roots,
    incus.ENGINE: incus.roots,
    nerdctl.ENGINE: nerdctl.roots,
    block_devices.ENGINE: block_devices.roots,
}
_RECORDS: dict[str, Callable[[Root, Sequence[bytes]], list[RecordState]]] = {
    docker.ENGINE: docker.records,
    containers_storage.ENGINE: containers_storage.records,
    containerd.ENGINE: containerd.records,
}


LAYOUTS: Mapping[str, tuple[Layout, ...]] = {
    docker.ENGINE: docker.LAYOUTS,
    containers_storage.ENGINE: containers_storage.LAYOUTS,
    containerd.ENGINE: containerd.LAYOUTS,
    kubelet.ENGINE: kubelet.LAYOUTS,
    netns.ENGINE: netns.LAYOUTS,
    buildkit.ENGINE: buildkit.LAYOUTS,
    crio.ENGINE: crio.LAYOUTS,
    incus.ENGINE: incus.LAYOUTS,
    nerdctl.ENGINE: nerdctl.LAYOUTS,
    block_devices.ENGINE: block_devices.LAYOUTS,
}
"""Every layout that a root of an engine may have."""

_CONTAINERS: dict[str, Callable[[Root, bytes], str | None]] = {
    docker.ENGINE: docker.container,
    containers_storage.ENGINE: containers_storage.container,
}


def discover(host: Host, config: Config) -> tuple[list[Root], list[Gap]]:
    """The roots of the enabled engines and of the configuration, and gaps for what could not be read. Never raises.

    Where two modules name one path in one home, the first in the order of `config.engines` counts. A `[[root]]` entry
    that names an engine's root only adds its patterns to that root's layout.
    """
    host.take_gaps()
    found: dict[tuple[bytes, int | None], Root] = {}
    for name in (*config.engines, custom.ENGINE):
        for root in _guarded(name, host, config):
            _add(found, root)
    aliases = _aliases(host, config)
    named = [replace(root, aliases=aliases.get(root.path, ())) for root in found.values()]
    return named, host.take_gaps()


def _aliases(host: Host, config: Config) -> dict[bytes, tuple[bytes, ...]]:
    """Other names of directories in policies, silences and `[[root]]` entries: paths through symbolic links."""
    named = [
        *(policy.root for policy in config.policies),
        *(silence.root for silence in config.silences),
        *(entry.path for entry in config.roots),
    ]
    found: dict[bytes, tuple[bytes, ...]] = {}
    for name in dict.fromkeys(filter(None, named)):
        try:
            path = host.realpath(name)
        except OSError:
            continue  # no root has that name; a `[[root]]` has a gap of its own
        if path and path != name:
            found[path] = (*found.get(path, ()), name)
    return found


def _add(found: dict[tuple[bytes, int | None], Root], root: Root) -> None:
    key = root.path, root.home if root.home_pid is not None else None
    known = found.setdefault(key, root)
    if known is not root and root.engine == custom.ENGINE:
        patterns = {layout.pattern for layout in known.layout}
        added = tuple(layout for layout in root.layout if layout.pattern not in patterns)
        found[key] = replace(known, layout=known.layout + added)


def records(host: Host, matches: Sequence[Match]) -> list[RecordState]:
    """What the engines themselves recorded of each match, in their files as the root's home sees them. Never raises.

    Forks a child for each root whose home is not our own namespace; unknown where that fails.
    """
    by_root: dict[tuple[str, bytes, int | None], list[int]] = {}
    for index, match in enumerate(matches):
        by_root.setdefault((match.root.engine, match.root.path, match.root.home), []).append(index)
    answers = [RecordState.UNKNOWN] * len(matches)
    for indexes in by_root.values():
        root = matches[indexes[0]].root
        for index, answer in zip(indexes, _records(root, [matches[i].rel for i in indexes]), strict=True):
            answers[index] = answer
    return answers


def record(host: Host, match: Match) -> RecordState:
    """`records` of a single match."""
    return records(host, (match,))[0]


def recorded(match: Match) -> RecordState:
    """`record` of a caller that is in the root's home already."""
    return _read(match.root, [match.rel])[0]


def container(match: Match) -> str | None:
    """The id, of 64 hex digits, of the container whose layer it is by the engine's record; None: not known.

    Never raises. Forks a child where the root's home is not our own namespace.
    """
    root, read = match.root, _CONTAINERS.get(match.root.engine)
    if read is None or not root.record:
        return None
    try:
        if root.home_pid is None:
            found = read(root, match.rel)
        else:
            found = in_namespace(root.home_pid, partial(read, root, match.rel), inode=root.home)
    except (OSError, ValueError, RecursionError, MountwardenError):
        return None
    return found if found and re.fullmatch("[0-9a-f]{64}", found) else None


def _records(root: Root, rels: Sequence[bytes]) -> list[RecordState]:
    if root.home_pid is None or not root.record:
        return _read(root, rels)
    try:
        return in_namespace(root.home_pid, partial(_read, root, rels), inode=root.home)
    except (OSError, MountwardenError):
        return [RecordState.UNKNOWN] * len(rels)


def _read(root: Root, rels: Sequence[bytes]) -> list[RecordState]:
    read = _RECORDS.get(root.engine)
    try:
        return read(root, rels) if read and root.record else [RecordState.UNKNOWN] * len(rels)
    except (OSError, MountwardenError):
        return [RecordState.UNKNOWN] * len(rels)


def _guarded(name: str, host: Host, config: Config) -> list[Root]:
    """One engine's roots; its failure is a gap, and the others are still found."""
    try:
        return custom.roots(host, config) if name == custom.ENGINE else _ROOTS[name](host, config)
    except (OSError, MountwardenError) as error:
        host.gap(f"roots of {name}", os.fsdecode(os.fsencode(str(error))))
    except Exception as error:
        host.gap(f"roots of {name}", f"{type(error).__name__}: {error}")
    return []
