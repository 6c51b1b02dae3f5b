"""The service's files: replaced whole, read warily."""

import json
import os
import stat
from pathlib import Path

import pytest
from mountwarden.config.schema import Config, Silence
from mountwarden.state import pause, run_directory, silences
from mountwarden.state.pause import Pause
from mountwarden.state.run_directory import RunDirectory


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


def test_a_file_is_replaced_and_no_trace_is_left(run: RunDirectory) -> None:
    run_directory.write(run.ledger, b"one", run_directory.OWN)
    first = run.ledger.stat().st_ino
    run_directory.write(run.ledger, b"two", run_directory.OWN)
    assert (run.ledger.read_bytes(), os.listdir(run.path)) == (b"two", ["ledger.json"])
    assert run.ledger.stat().st_ino != first
    assert stat.S_IMODE(run.ledger.stat().st_mode) == 0o600


def test_what_others_may_read_is_the_journal_group_s(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_directory, "readers", os.getgid)
    run_directory.write(run.status, b"one")
    status = run.status.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_gid) == (0o640, os.getgid())


def test_what_a_killed_writer_left_is_swept(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "rename", lambda *_paths: None)
    monkeypatch.setattr(os, "unlink", lambda _path: None)
    for path in (run.ledger, run.report, run.status, run.pause, run.silences):
        run_directory.write(path, b"half")
    assert len(os.listdir(run.path)) == 5
    monkeypatch.undo()
    run_directory.sweep(run.path)
    assert os.listdir(run.path) == []


def test_a_pipe_in_a_file_s_place_is_not_waited_for(run: RunDirectory) -> None:
    run.path.mkdir()
    os.mkfifo(run.pause)
    found = pause.read(run, 100.0)
    assert found is not None
    assert "no regular file" in found.reason


def test_sweep_removes_only_what_a_killed_writer_left(run: RunDirectory) -> None:
    run.path.mkdir()
    for name in (".ledger.json.77", "ledger.json", ".hidden", "other"):
        (run.path / name).touch()
    run_directory.sweep(run.path)
    assert sorted(os.listdir(run.path)) == [".hidden", "ledger.json", "other"]


def test_a_directory_that_is_made_can_be_entered_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        run_directory.write(tmp_path / "metrics/file", b"text", 0o644)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "metrics").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "metrics/file").stat().st_mode) == 0o644


def test_no_file_is_none(run: RunDirectory) -> None:
    assert run_directory.read(run.ledger) is None


def test_a_pause_is_in_force_until_its_end(run: RunDirectory) -> None:
    assert pause.read(run, 100.0) is None
    pause.write(run, Pause(100.0, 200.0, "why"))
    assert pause.read(run, 199.9) == Pause(100.0, 200.0, "why")
    assert pause.read(run, 200.0) is None


def test_a_pause_without_end_stays_until_it_is_ended(run: RunDirectory) -> None:
    pause.write(run, Pause(100.0, None, ""))
    assert pause.read(run, 1e12) == Pause(100.0)
    assert pause.end(run) == Pause(100.0)
    assert pause.read(run, 1e12) is None
    assert pause.end(run) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": "other/1"}', '{"schema": "mountwarden.pause/1"}', "\0"])
def test_a_pause_that_can_not_be_understood_pauses(run: RunDirectory, text: str) -> None:
    run.path.mkdir()
    run.pause.write_text(text)
    found = pause.read(run, 100.0)
    assert found is not None
    assert found.until is None
    assert "understood" in found.reason


def test_a_pause_that_can_not_be_read_pauses(run: RunDirectory) -> None:
    run.pause.mkdir(parents=True)
    found = pause.read(run, 100.0)
    assert found is not None
    assert "can't be read" in found.reason


def test_silences_are_kept_until_their_end(run: RunDirectory) -> None:
    short, long = Silence("short", 150.0, "mw-1"), Silence("long", 300.0, "mw-2")
    silences.write(run, [short, long], 100.0)
    assert silences.read(run) == (short, long)
    silences.write(run, [short, long], 200.0)
    assert silences.read(run) == (long,)


def test_silences_are_added_to_those_of_the_configuration(run: RunDirectory) -> None:
    config = Config(silences=(Silence("old", unit="a.service"),))
    assert silences.merged(config, run) is config
    silences.write(run, [Silence("new", 300.0, "mw-2")], 100.0)
    assert silences.merged(config, run).silences == (*config.silences, Silence("new", 300.0, "mw-2"))


@pytest.mark.parametrize("document", ["", "[]", {"schema": "other"}, {"schema": silences.SCHEMA, "silences": [1]}])
def test_silences_that_can_not_be_understood_silence_nothing(run: RunDirectory, document: object) -> None:
    run.path.mkdir()
    run.silences.write_text(document if isinstance(document, str) else json.dumps(document))
    assert silences.read(run) == ()
