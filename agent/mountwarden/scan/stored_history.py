"""What of a scan's history lasts over a restart of the service, and what a later run takes up of it. Pure.

Saved are the copies that the last scan saw beside a mount of home, and those that it knew to be left behind. A later
scan takes one up only if it finds the very same mount again; a mount's superblock and root never change while it lives:

- by its unique id, which is not reused within a boot (Linux 6.8);
- else by its namespace (a process of before is in it still, by pid and start time: the inode alone is reused at once),
  small id, parent, device, root, type and options.

That is as good as what two scans in a row give, however long nobody looked: while the copy lives, its superblock does,
so that nothing else can have its device number. Home had that superblock at the saved scan (same device, root, type and
options at one time). If home has none of that device and root now, then home's was unmounted in between; that nobody
saw the moment changes nothing. So it does not matter how many scans a kill has lost: an older file names fewer
copies, never a wrong one. What was mounted since, or is another mount by any of these, gets no history. A home must be
the same namespace too, by a process of before: one that only got its inode never had those mounts.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from ..codec import DecodeError, Decoder, Encoder, Format
from ..escape import decoded, raw
from ..model import Answers, Copy, Gone, Match, Mount, Namespace, RootState, Spot, UsersQuestion
from ..mounts.roots import Spots, match_anywhere
from ..mounts.table import Table
from ..observe.tiers.needles import needle
from .history import CopyOf, History, HomeMount, Identity, key

SCHEMA = "mountwarden.history/1"
WITNESSES = 3
"""Processes of a namespace that are saved."""
MOST = 1 << 16
"""Copies that are saved: what is left behind already comes first."""

Process = tuple[int, int]
"""Pid, and start time in clock ticks since boot: no two processes of a boot have the same."""
Started = Callable[[int], int | None]
"""The start time of a process; None where it has ended."""
SavedCopy = tuple[int, int, int, int]
"""Small id, unique id (0: not known), parent's small id, and which of the saved mounts of home it is of."""

_FORMAT = Format(text=lambda value: value if isinstance(value, str) else decoded(value), raw=raw)


@dataclass(frozen=True, slots=True)
class SavedMount:
    """A mount that home had on a spot."""

    root: bytes
    """Path of the root."""
    home: int
    spot: Spot
    mountpoint: bytes
    id: int
    unique: int | None
    device: str
    mnt_root: bytes
    fstype: str
    options: str
    """Digest of the file system's options."""
    volume: bool
    """No needle tells of it; most such mounts are volumes."""


@dataclass(frozen=True, slots=True)
class SavedNamespace:
    """Processes in a mount namespace, and the copies in it."""

    inode: int
    processes: tuple[Process, ...]
    copies: tuple[SavedCopy, ...] = ()


@dataclass(frozen=True, slots=True)
class SavedGone:
    """A mount that is nowhere any more, its small ids, and the processes that keep it."""

    mount: int
    ids: tuple[int, ...]
    users: tuple[Process, ...]


@dataclass(frozen=True, slots=True)
class StoredHistory:
    """All that is saved. Of one boot: ids and start times mean nothing in the next."""

    boot_id: str
    taken: float = field(default=0.0, compare=False)
    """Seconds since the Epoch of the first scan that knew all this."""
    mounts: tuple[SavedMount, ...] = ()
    namespaces: tuple[SavedNamespace, ...] = ()
    gone: tuple[SavedGone, ...] = ()
    daemons: tuple[tuple[str, tuple[bytes, ...]], ...] = ()
    """By engine: the roots of every daemon that ran since the boot."""
    depths: tuple[tuple[int, int], ...] = ()
    """Of each stack, the unique id of its lowest mount and the least depth at which it was seen (Linux 6.8)."""


def begin(saved: StoredHistory) -> History:
    """The history before the first scan: what that must look for, wherever it is mounted."""
    return History(earlier={(one.device, one.mnt_root): one.volume for one in saved.mounts})


class _SavedMounts:
    """Collects mounts of home, each once."""

    def __init__(self) -> None:
        self.mounts: list[SavedMount] = []
        self._places: dict[tuple[int, int], int] = {}

    def place(self, known: HomeMount) -> int | None:
        """Which one it is; None where it can't be saved, since nobody knows its home."""
        if known.home is None:
            return None
        by = id(known.match), id(known.mount)
        if by not in self._places:
            self._places[by] = len(self.mounts)
            self.mounts.append(_saved_mount(known.match, known.mount, known.home))
        return self._places[by]


def save(
    history: History,
    namespaces: Mapping[int, Namespace],
    answers: Answers,
    started: Started,
    saved: StoredHistory,
) -> StoredHistory:
    """What is saved after a scan. `saved` gives what is not of the history: boot, time, daemons, depths.

    `started` must know only processes from before the scan, or a pid that was reused within it would be a witness.
    """
    writer = _SavedMounts()
    copies: dict[int, list[SavedCopy]] = {}
    for copy, known in (*history.left.values(), *history.would_be_left())[:MOST]:
        if (place := writer.place(known)) is not None:
            mount = copy.mount
            copies.setdefault(copy.namespace, []).append((mount.id, mount.unique or 0, mount.parent, place))
    gone = tuple(_saved_gone(history, answers, started, writer))
    inodes = dict.fromkeys((*(one.home for one in writer.mounts), *copies))  # homes first: `dump` cuts from the end
    spaces = tuple(
        SavedNamespace(inode, _witnesses(namespaces.get(inode), started), tuple(copies.get(inode, ())))
        for inode in inodes
    )
    return replace(saved, mounts=tuple(writer.mounts), namespaces=spaces, gone=gone)


def _saved_gone(history: History, answers: Answers, started: Started, writer: _SavedMounts) -> Iterable[SavedGone]:
    for gone in history.gone.values():
        users = answers.users.get(UsersQuestion(gone.ids), ())
        processes = _started((use.pid for use in users), started)
        place = writer.place(HomeMount(gone.match, gone.mount, gone.ids, gone.home))
        if processes and place is not None:
            yield SavedGone(place, tuple(sorted(gone.ids)), processes)


def _saved_mount(match: Match, mount: Mount, home: int) -> SavedMount:
    return SavedMount(
        root=match.root.path,
        home=home,
        spot=match.spot,
        mountpoint=match.mountpoint,
        id=mount.id,
        unique=mount.unique,
        device=mount.device,
        mnt_root=mount.root,
        fstype=mount.fstype,
        options=_digest(mount),
        volume=needle(match.layout) is None,
    )


def _digest(mount: Mount) -> str:
    return hashlib.blake2b(mount.super_options, digest_size=16).hexdigest()


def _witnesses(space: Namespace | None, started: Started) -> tuple[Process, ...]:
    return _started(space.pids[:WITNESSES], started) if space else ()


def _started(pids: Iterable[int], started: Started) -> tuple[Process, ...]:
    return tuple((pid, at) for pid in dict.fromkeys(pids) if pid and (at := started(pid)) is not None)


@dataclass(slots=True)
class _FoundAgain:
    """What a scan finds again of what was saved."""

    saved: StoredHistory
    states: tuple[RootState, ...]
    tables: Mapping[int, Table]
    namespaces: Mapping[int, Namespace]
    started: Started
    _spots: Spots
    _same: dict[int, bool] = field(default_factory=dict)
    _matches: dict[int, Match | None] = field(default_factory=dict)
    _mounts: dict[int, Mount] = field(default_factory=dict)
    _witnesses: dict[int, tuple[Process, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._witnesses = {space.inode: space.processes for space in self.saved.namespaces}

    def is_same(self, inode: int) -> bool:
        """Whether a process that was in the namespace is in it still."""
        if inode not in self._same:
            space = self.namespaces.get(inode)
            inside = frozenset(space.pids) if space else frozenset()
            known = self._witnesses.get(inode, ())
            self._same[inode] = any(pid in inside and self.started(pid) == at for pid, at in known)
        return self._same[inode]

    def match(self, place: int) -> Match | None:
        """The match of a saved mount by the roots of today; None where its home is not the same any more."""
        if place not in self._matches:
            self._matches[place] = self._match(self.saved.mounts[place])
        return self._matches[place]

    def _match(self, one: SavedMount) -> Match | None:
        if not self.is_same(one.home):
            return None
        found = self._spots.match(one.spot) or self._anywhere(one)
        homes = (state.home for state in self.states if found is not None and state.root is found.root)
        return found if found is not None and found.root.path == one.root and one.home in homes else None

    def _anywhere(self, one: SavedMount) -> Match | None:
        table = self.tables.get(one.home)
        parent = table.containing(one.mountpoint) if table else None
        roots = (state.root for state in self.states if (state.root.path, state.home) == (one.root, one.home))
        matches = (match_anywhere(root, one.mountpoint, parent, one.spot) for root in roots if parent)
        return next((match for match in matches if match is not None), None)

    def found(self, copy: Copy, row: SavedCopy) -> HomeMount | None:
        """The mount of home that a copy is of, if it is the very same copy."""
        small, unique, parent, place = row
        one, mount = self.saved.mounts[place], copy.mount
        if (mount.identity, mount.fstype, mount.id) != ((one.device, one.mnt_root), one.fstype, small):
            return None
        if _digest(mount) != one.options:
            return None
        if unique and mount.unique is not None:
            same = unique == mount.unique
        else:
            same = parent == mount.parent and self.is_same(copy.namespace)
        match = self.match(place) if same else None
        if match is None or (copy.match is not None and copy.spot != match.spot):
            return None
        if place not in self._mounts:
            self._mounts[place] = replace(mount, id=one.id, unique=one.unique, point=one.mountpoint)
        return HomeMount(match, self._mounts[place], frozenset({mount.id}), one.home)


def take_up(
    saved: StoredHistory,
    copies: Iterable[Copy],
    states: tuple[RootState, ...],
    tables: Mapping[int, Table],
    namespaces: Mapping[int, Namespace],
    started: Started,
) -> History:
    """The history with which the first scan goes on: what it finds again of what was saved. Of that, what home still
    has gets none by `remember`.

    `tables` are those of the homes.
    """
    reader = _FoundAgain(saved, states, tables, namespaces, started, Spots(states))
    rows = {(space.inode, row[0]): row for space in saved.namespaces for row in space.copies}
    left = {}
    for copy in copies:
        row = rows.get((copy.namespace, copy.mount.id))
        if row is not None and (known := reader.found(copy, row)) is not None:
            unique = copy.mount.unique or row[1] or None
            left[key(copy)] = CopyOf(replace(copy, mount=replace(copy.mount, unique=unique)), known)
    return History(left=left, gone=dict(_gone(reader)))


def _gone(reader: _FoundAgain) -> Iterable[tuple[Identity, Gone]]:
    """What one of its users of before still may hold: such a search is made anew."""
    for gone in reader.saved.gone:
        one, match = reader.saved.mounts[gone.mount], reader.match(gone.mount)
        if match is not None and any(reader.started(pid) == at for pid, at in gone.users):
            identity = one.device, one.mnt_root
            mount = _bare_mount(one)
            yield identity, Gone(match, mount, frozenset(gone.ids), one.home)


def _bare_mount(one: SavedMount) -> Mount:
    return Mount(
        id=one.id,
        parent=0,
        device=one.device,
        root=one.mnt_root,
        point=one.mountpoint,
        options=b"",
        shared=0,
        master=0,
        propagate_from=0,
        unbindable=False,
        fstype=one.fstype,
        source=b"",
        super_options=b"",
        unique=one.unique,
    )


def dump(saved: StoredHistory, limit: int) -> bytes:
    """As one line of JSON of at most `limit` bytes: where all would be more, the last namespaces are left out."""
    while len(data := _text(saved)) > limit and (saved.namespaces or saved.gone):
        half = saved.namespaces[: len(saved.namespaces) // 2]
        used = {row[3] for space in half for row in space.copies}
        kept = {place: number for number, place in enumerate(sorted(used))}
        half = tuple(replace(space, copies=tuple((*row[:3], kept[row[3]]) for row in space.copies)) for space in half)
        saved = replace(saved, mounts=tuple(saved.mounts[place] for place in kept), namespaces=half, gone=(), depths=())
    return data


def _text(saved: StoredHistory) -> bytes:
    encode = Encoder(_FORMAT).encode
    document = {
        "schema": SCHEMA,
        "boot_id": saved.boot_id,
        "taken": saved.taken,
        "mounts": encode(saved.mounts),
        # Their rows are numbers, and many: not by the encoder, which asks for the type of each.
        "namespaces": [{"inode": s.inode, "processes": s.processes, "copies": s.copies} for s in saved.namespaces],
        "gone": encode(saved.gone),
        "daemons": encode(saved.daemons),
        "depths": saved.depths,
    }
    return json.dumps(document, separators=(",", ":")).encode()


def load(data: bytes | None, boot_id: str) -> tuple[StoredHistory, str | None]:
    """What a file's content says, and why nothing of it is used; None when it is, or there was no file."""
    empty = StoredHistory(boot_id)
    if data is None:
        return empty, None
    try:
        document = json.loads(data)
        if document.pop("schema") != SCHEMA:
            return empty, "the saved history is of another version"
        saved = Decoder(_FORMAT).decode(StoredHistory, document)
        if saved.boot_id != boot_id:
            return empty, "the saved history is of another boot"
        places = [row[3] for space in saved.namespaces for row in space.copies] + [gone.mount for gone in saved.gone]
        if max(places, default=-1) >= len(saved.mounts):
            return empty, "the saved history can't be read (it names a mount that it has not)"
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        return empty, f"the saved history can't be read ({type(error).__name__}: {error})"
    except DecodeError as error:
        return empty, f"the saved history can't be read ({error})"
    return saved, None


__all__ = ["CopyOf", "StoredHistory", "begin", "dump", "load", "save", "take_up"]
