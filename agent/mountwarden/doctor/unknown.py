"""Engines that no module knows: what they mount in home below a directory of their own, and what would guard it."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from ..config.schema import Config, RootEntry
from ..engines.programs import PROGRAMS
from ..errors import ConfigError
from ..explain import holders
from ..model import Holder, Mount, Picture, RootKind
from ..mounts import unguarded
from ..mounts.table import Table
from ..mounts.unguarded import UnguardedDirectory, UnguardedPattern
from .units import PLACES, names

_UNITS = (
    *PLACES,
    *(f"/run/systemd/{name}" for name in ("generator", "generator.early", "generator.late", "transient")),
)
"""Where units of mounts are, systemd.mount(5): those of fstab(5) are generated, those of systemd-mount(1) transient."""
_FEW = 3


@dataclass(frozen=True, slots=True)
class UnknownEngine:
    """What is mounted below one directory, whose it seems to be, and what would guard it."""

    directory: UnguardedDirectory
    processes: tuple[Holder, ...]
    """The first of those that have files of the directory open."""
    entry: str | None
    """The `[[root]]` entries as TOML; None where the paths can't be written so."""
    replaces: tuple[bytes, ...] = ()
    """Paths of entries of the configuration that these stand in place of."""


def unknown(table: Table | None, picture: Picture, home: int | None, config: Config) -> tuple[UnknownEngine, ...]:
    """The engines that mount in home (its `table`, and its inode) what nothing guards.

    Nothing is told of a directory of which no process of the host has a file open: what is mounted there may be
    anybody's. Nor of a single mount that somebody made in a session.
    """
    if table is None or home is None or home not in picture.namespaces:
        return ()
    mounts = unguarded.candidates(table, picture.roots)
    return tuple(_of_mounts(mounts, picture.namespaces[home].pids, config)) if mounts else ()


def _of_mounts(mounts: Iterable[Mount], pids: Collection[int], config: Config) -> Iterator[UnknownEngine]:
    from ..observe import own_files  # on most hosts nothing is unguarded: what is needed then is loaded then

    mounts = _without_units(mounts)
    found = unguarded.directories(mounts)
    if not found:
        return
    points = {one.path: tuple(mount.point for mount in one.mounts) for one in found}
    users = own_files.users(pids, points)
    for one in found:
        if some := tuple(_holders(users.get(one.path, ()), one, config)):
            yield _engine(one, some, config)


def _without_units(mounts: Iterable[Mount]) -> list[Mount]:
    """Without what an operator, by fstab or a unit, has mounted by systemd."""
    from ..systemd.unit_names import mount_unit

    units = {name for place in _UNITS for name in names(place) if name.endswith(".mount")}
    return [one for one in mounts if mount_unit(one.point) not in units]


def _holders(pids: Iterable[int], directory: UnguardedDirectory, config: Config) -> Iterator[Holder]:
    for pid in pids:
        try:
            one = holders.holder(pid)
        except OSError:
            continue
        if one is None or one.container or (directory.many == 1 and _is_in_session(one)):
            continue
        program = PROGRAMS.get(one.comm)
        if program is None or not program.modules or set(program.modules) <= set(config.engines):
            yield one  # else `engines` leaves that engine out: the operator does not want it guarded


def _is_in_session(one: Holder) -> bool:
    return bool(one.unit and one.unit.startswith("session-"))


def _engine(directory: UnguardedDirectory, processes: tuple[Holder, ...], config: Config) -> UnknownEngine:
    known = {entry.path: entry for entry in config.roots}
    entries = [_entry(one, known) for one in directory.found]
    replaced = tuple(entry.path for entry in entries if entry.path in known)
    return UnknownEngine(directory, processes[:_FEW], _text(entries), replaced)


def _entry(one: UnguardedPattern, known: Mapping[bytes, RootEntry]) -> RootEntry:
    kind = RootKind.NETNS if one.fstypes == {"nsfs"} else RootKind.CUSTOM
    fstype = next(iter(one.fstypes)) if len(one.fstypes) == 1 else None
    if (there := known.get(one.directory)) is not None:
        patterns = tuple(dict.fromkeys((*there.layout, *one.patterns)))
        return replace(there, layout=patterns, fstype=fstype if fstype == there.fstype else None)
    return RootEntry(one.directory, kind, one.patterns, fstype)


def _text(entries: list[RootEntry]) -> str | None:
    """As TOML that the configuration's own loader reads as these very entries."""
    from ..config import dump, load

    text = "\n".join(map(dump.root_entry, entries))
    try:
        return text if list(load.parse(text.encode()).roots) == entries else None
    except (ConfigError, UnicodeEncodeError):
        return None
