"""What podman's database must say before a container's file system counts as left; the tree is as podman 5.4 has it."""

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mountwarden.engines.ownership import owners
from mountwarden.engines.sources import Host
from mountwarden.model import Base, Layout, Match, Mount, Root, RootKind, Spot

CONTAINER, LAYER = "c0" * 32, "1a" * 32
DEAD = 4194305
"""Above the kernel's PID_MAX_LIMIT."""
LONG_AGO, NOW = "2001-09-09T01:46:40.123456789Z", "2100-01-01T00:00:00Z"
STATE = {"state": 3, "mounted": True, "startedTime": LONG_AGO, "pid": DEAD, "conmonPid": DEAD + 1}


def store(place: Path, state: dict[str, object], count: int = 1) -> None:
    for directory in ("overlay-containers", "libpod", "run/overlay-layers", f"overlay/{LAYER}/merged"):
        (place / directory).mkdir(parents=True, exist_ok=True)
    (place / "run/overlay-layers/mountpoints.json").write_text(json.dumps([{"id": LAYER, "path": "/", "count": count}]))
    containers = [{"id": CONTAINER, "names": ["left-one"], "layer": LAYER}]
    (place / "overlay-containers/containers.json").write_text(json.dumps(containers))
    (place / "db.sql").unlink(missing_ok=True)
    with closing(sqlite3.connect(place / "db.sql")) as database:
        database.execute("PRAGMA journal_mode = WAL")
        for table in ("ContainerConfig(ID, Name, PodID, JSON)", "ContainerState(ID, State, ExitCode, JSON)"):
            database.execute(f"CREATE TABLE {table}")
        database.execute("INSERT INTO ContainerConfig VALUES (?, 'left-one', NULL, '{}')", (CONTAINER,))
        database.execute("INSERT INTO ContainerState VALUES (?, 1, 0, ?)", (CONTAINER, json.dumps(state).encode()))
        database.commit()


def answer(place: Path) -> str:
    path = os.fsencode(place)
    record = (f"{place}/run/overlay-layers/mountpoints.json", f"{place}/overlay-layers/layers.json")
    layout = Layout(b"overlay/*/merged", "overlay")
    root = Root(path, "containers-storage", RootKind.GRAPH, (layout,), None, record=record, daemonless=True)
    rel = b"overlay/%s/merged" % LAYER.encode()
    mount = Mount(1, 1, "0:1048575", b"/", path + b"/" + rel, b"", 0, 0, 0, False, "overlay", b"", b"")
    match = Match(root, Base(mount, Spot("0:1", b"/"), b""), layout, rel, b"x", mount.point, Spot("0:1", mount.point))
    return owners(Host(), (), [(match, mount)])[0].state


def test_a_container_whose_processes_are_dead(tmp_path: Path) -> None:
    store(tmp_path, STATE)
    files = sorted(os.listdir(tmp_path))
    before = (tmp_path / "db.sql").read_bytes()
    assert answer(tmp_path) == "gone"
    assert (sorted(os.listdir(tmp_path)), (tmp_path / "db.sql").read_bytes()) == (files, before)
    store(tmp_path, STATE | {"state": 5})
    assert answer(tmp_path) == "gone"
    store(tmp_path, STATE | {"pid": os.getpid()})
    assert answer(tmp_path) == "gone", "another process has its number, and is younger"
    store(tmp_path, STATE | {"pid": os.getpid(), "restoredTime": "0001-01-01T00:00:00Z"})
    assert answer(tmp_path) == "gone", "it was never restored"


@pytest.mark.parametrize(
    "state",
    [
        *({"state": number} for number in (0, 1, 2, 4, 6, 7, 8, "3", None)),
        {"pid": os.getpid(), "startedTime": NOW},
        {"conmonPid": os.getpid(), "startedTime": NOW},
        {"pid": os.getpid(), "restoredTime": NOW},
        {"restoredTime": None},
        {"pid": 0},
        {"conmonPid": 0},
        {"startedTime": "soon"},
        {"startedTime": None},
    ],
    ids=repr,
)
def test_any_other_state_is_unknown(tmp_path: Path, state: dict[str, object]) -> None:
    store(tmp_path, STATE | state)
    assert answer(tmp_path) == "unknown"


def test_a_count_of_two_is_unknown(tmp_path: Path) -> None:
    store(tmp_path, STATE, count=2)
    assert answer(tmp_path) == "unknown"


@pytest.mark.parametrize("name", ["libpod/bolt_state.db", "db.sql-journal", "db.sql-wal"])
def test_another_database_or_one_that_is_written_is_unknown(tmp_path: Path, name: str) -> None:
    store(tmp_path, STATE)
    (tmp_path / name).touch()
    assert answer(tmp_path) == "unknown"


@pytest.mark.parametrize("data", [b"", b"SQLite format 3\0", b"x" * 4096])
def test_a_torn_database_is_unknown(tmp_path: Path, data: bytes) -> None:
    store(tmp_path, STATE)
    (tmp_path / "db.sql").write_bytes(data)
    assert answer(tmp_path) == "unknown"
