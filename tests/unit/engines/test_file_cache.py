"""Files that are read again only when they changed."""

import os
import time
from pathlib import Path

import pytest
from mountwarden.engines import file_cache


def stamped(monkeypatch: pytest.MonkeyPatch, age: float) -> None:
    """From now on every file was last changed `age` seconds ago, whatever happens to it."""
    then = time.time_ns() - int(age * 1e9)
    monkeypatch.setattr(file_cache, "_stamp", lambda _status: (then, then, 1, 1, 1))


@pytest.mark.parametrize(("age", "second"), [(0.0, b"b"), (60.0, b"a")])
def test_what_changed_just_now_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age: float, second: bytes
) -> None:
    file, cache = tmp_path / "file", file_cache.FileCache()
    stamped(monkeypatch, age)
    file.write_bytes(b"a")
    assert cache.load(os.fsencode(file), bytes) == b"a"
    file.write_bytes(b"b")
    assert cache.load(os.fsencode(file), bytes) == second
    cache.clear()
    assert cache.load(os.fsencode(file), bytes) == b"b"


def test_a_file_that_went_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, cache = tmp_path / "file", file_cache.FileCache()
    stamped(monkeypatch, 60)
    file.write_bytes(b"a")
    assert cache.load(os.fsencode(file), bytes) == b"a"
    file.unlink()
    assert cache.load(os.fsencode(file), bytes) is None
    file.write_bytes(b"b")
    assert cache.load(os.fsencode(file), bytes) == b"b"


def test_what_is_no_regular_file_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(OSError, match="no regular file"):
            file_cache.read(os.fsencode(path))


def test_a_file_beyond_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_cache, "LIMIT", 1 << 20)
    file = tmp_path / "file"
    file.write_bytes(bytes(1 << 20))
    assert len(file_cache.read(os.fsencode(file))) == 1 << 20
    file.write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(OSError, match="more than 1 MiB"):
        file_cache.read(os.fsencode(file))


def test_names_are_sorted_and_none_for_what_is_no_directory(tmp_path: Path) -> None:
    cache = file_cache.FileCache()
    for name in ("b", "a"):
        (tmp_path / name).touch()
    assert cache.names(os.fsencode(tmp_path)) == (b"a", b"b")
    assert cache.names(os.fsencode(tmp_path / "a")) is None
    assert cache.names(os.fsencode(tmp_path / "absent")) is None


def test_a_directory_that_is_not_there_costs_one_system_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that is not there is looked for in each scan."""
    calls: list[object] = []
    for name in ("stat", "lstat"):
        call = getattr(os, name)
        monkeypatch.setattr(os, name, lambda path, *, call=call, **more: calls.append(path) or call(path, **more))
    assert file_cache.real_directory(os.fsencode(tmp_path / "a/b/c/d")) is None
    assert len(calls) == 1
