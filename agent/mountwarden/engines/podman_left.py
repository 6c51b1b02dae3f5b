"""podman: the file system of a container that was killed together with its monitor, so that nobody unmounted it.

podman has no daemon: its database says what it believes. With the SQLite backend (4.8 and later) that is
GRAPHROOT/db.sql (podman, libpod/sqlite_state.go, NewSqliteState); it is not used where libpod/bolt_state.db is there,
or with a transient store (libpod/runtime.go, getDBState). Table ContainerState has the columns ID and JSON
(libpod/sqlite_state_internal.go, sqliteInitTables): the container's state with "state", "pid", "conmonPid" and
"startedTime" (libpod/container.go, ContainerState), where 3 is running and 5 paused (libpod/define/containerstate.go);
its column State is not kept up to date (podman 5.4). ContainerConfig has its Name, by which a command that restarts it
would know it. conmon, which would have it unmounted at its end, has the container's id on its command line
(libpod/oci_conmon_common.go, sharedConmonArgs). Of a container that was restored from a checkpoint startedTime stays
what it was, and "restoredTime" says when its processes began; else that is year 1.
RUNROOT/overlay-layers/mountpoints.json counts one for the container itself; `podman mount` and a container of buildah
count on their own, and of these nobody can say whether they are still wanted. So only a container that podman believes
to run, with a count of one, can be left: whatever asks podman for it next finds out that it has ended.

The database is read as bytes and opened in memory, so that nothing of it is locked or changed: it is whole where no
journal lies beside it before and after, and it did not change meanwhile.
"""

import datetime
import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from ..escape import printable
from ..files import read_regular
from ..model import Match, Mount
from ..model.ownership import OWNER_UNKNOWN, LeftBehind, Owned, Ownership
from ..observe import processes
from ..observe.start_times import process_started
from . import containers_storage, containers_storage_record
from .proof import Inquiry, Pairs

_LIMIT = 256 << 20
_STATES = (3, 5)
_STEP = 2.0
"""Seconds by which two clocks of one moment may differ."""
_FRACTION = re.compile(r"(\.\d{6})\d*")
_QUERY = "SELECT ContainerState.ID, Name, ContainerState.JSON FROM ContainerState JOIN ContainerConfig USING (ID)"
_WAL_VERSION = slice(18, 20)
"""Of the header: 2 where the file was written with a write-ahead log, https://sqlite.org/fileformat.html."""


@dataclass(frozen=True, slots=True)
class _Container:
    """What the database says of a container that podman believes to run."""

    identity: str
    name: str
    pids: tuple[int, int]
    """Its own, and its monitor's."""
    started: float
    """When these began, in seconds since the Epoch."""


def claims(match: Match) -> bool:
    """Whether it is for this module to say who owns a mount there."""
    root = match.root
    if root.engine != containers_storage.ENGINE or not root.daemonless or root.home_pid is not None:
        return False
    match match.rel.split(b"/"):
        case [b"overlay", _, b"merged"]:
            return len(root.record) == 2
    return False


def owners(inquiry: Inquiry, pairs: Pairs) -> list[Ownership]:
    """One for each, all of one root. Raises: NoAnswer, OSError, ValueError where something can't be asked."""
    root = pairs[0][0].root
    rels = [match.rel for match, _mount in pairs]
    found = inquiry.ask_here(partial(_containers, root.path, root.record, rels), len(pairs))
    return [_owner(inquiry, *pair, container) for pair, container in zip(pairs, found, strict=True)]


def _owner(inquiry: Inquiry, match: Match, mount: Mount, container: _Container | None) -> Ownership:
    if container is None or any(_lives(pid, container.started) for pid in container.pids):
        return OWNER_UNKNOWN
    traces = inquiry.traces
    named = any(traces.name(os.fsencode(name)) for name in (container.identity, container.name))
    if named or mount.device in traces.roots:
        return OWNER_UNKNOWN
    process, monitor = container.pids
    proof = f"podman has it mounted for container {container.identity[:12]} alone and believes that this runs, "
    proof += f"process {process} and its monitor {monitor} have ended"
    directory = printable(os.path.dirname(os.path.join(match.root.path, match.rel)))
    return Ownership(Owned.GONE, LeftBehind.CONTAINER, proof, f"the layer's directory {directory}")


def _lives(pid: int, since: float) -> bool:
    """Whether that process lives, or one does that may be it: another one that has its number is younger."""
    if not processes.is_alive(pid):
        return False
    started = process_started(pid)
    return started is None or started <= since + _STEP


def _containers(graphroot: bytes, record: Sequence[str], rels: Sequence[bytes]) -> list[_Container | None]:
    """Of each layer the container that podman believes to run and that alone has it mounted; in a child."""
    known = _running(_database(graphroot))
    counts = _counts(os.fsencode(record[0]))
    return [_of_layer(record, rel, known, counts) for rel in rels]


def _of_layer(
    record: Sequence[str], rel: bytes, known: Mapping[str, _Container], counts: Mapping[str, int]
) -> _Container | None:
    owner = containers_storage_record.container(record, rel)
    return known.get(owner) if owner and counts.get(os.fsdecode(rel.split(b"/")[1])) == 1 else None


def _counts(path: bytes) -> dict[str, int]:
    """How often each layer is mounted."""
    return {str(one["id"]): int(one["count"]) for one in json.loads(read_regular(path, _LIMIT).data)}


def _database(graphroot: bytes) -> bytes:
    """Raises: OSError, ValueError where podman uses another one, or it is being written."""
    path = graphroot + b"/db.sql"
    if os.path.lexists(graphroot + b"/libpod/bolt_state.db") or _is_written(path):
        raise ValueError("podman's database is another one, or is being written")
    content = read_regular(path, _LIMIT)
    after = os.stat(path)
    if _is_written(path) or (after.st_ino, after.st_mtime_ns) != (content.status.st_ino, content.status.st_mtime_ns):
        raise ValueError("podman's database is being written")
    return content.data


def _is_written(path: bytes) -> bool:
    return any(os.path.lexists(path + end) for end in (b"-journal", b"-wal"))


def _running(data: bytes) -> dict[str, _Container]:
    """By id. Raises: ValueError where it is no database of podman's."""
    import sqlite3

    plain = bytearray(data)
    plain[_WAL_VERSION] = b"\1\1"
    try:
        with closing(sqlite3.connect(":memory:")) as database:
            database.deserialize(bytes(plain))
            rows = database.execute(_QUERY).fetchall()
    except sqlite3.Error as error:
        raise ValueError(str(error)) from None
    found = (_container(str(identity), str(name), json.loads(text)) for identity, name, text in rows)
    return {one.identity: one for one in found if one is not None}


def _container(identity: str, name: str, state: object) -> _Container | None:
    match state:
        case {"state": int(number), "pid": int(pid), "conmonPid": int(monitor), "startedTime": str(started), **more}:
            if number in _STATES and pid > 0 and monitor > 0 and re.fullmatch("[0-9a-f]{64}", identity):
                times = (started, more.get("restoredTime", started))
                return _Container(identity, name, (pid, monitor), max(map(_time, times)))
    return None


def _time(text: object) -> float:
    """A time as Go writes it, with up to nine digits of a second. Raises: ValueError."""
    return datetime.datetime.fromisoformat(_FRACTION.sub(r"\1", str(text))).timestamp()
