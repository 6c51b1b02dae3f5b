"""Files: a reader sees all of the old content or all of the new, and what is no regular file is not read."""

import os
import resource
import stat
import threading
from contextlib import nullcontext
from pathlib import Path

import pytest
from mountwarden.files import NotRegular, OthersMayWrite, TooLarge, check_directory, read_regular, replace_file, sweep
from mountwarden.state import run_directory


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    return path


def names(file: Path) -> list[str]:
    return sorted(os.listdir(file.parent))


def test_what_is_written_is_read(file: Path) -> None:
    before = file.stat().st_ino
    replace_file(file, b"new", mode=0o600)
    content = read_regular(file, 3)
    assert (content.data, content.status.st_size) == (b"new", 3)
    assert content.status.st_ino != before
    assert names(file) == ["file"]


def test_a_path_without_a_directory_is_in_the_current_one(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    replace_file("file", b"new", mode=0o600)
    (file.parent / ".file.left").touch()
    sweep("file")
    assert (file.read_bytes(), names(file)) == (b"new", ["file"])


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_mode_and_group_are_right_before_the_file_is_in_its_place(
    file: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    seen: list[tuple[int, int]] = []
    changed: list[tuple[int, int, int]] = []
    rename, chown = os.rename, os.fchown

    def look(new: str, path: str) -> None:
        seen.append((stat.S_IMODE(os.stat(new).st_mode), os.stat(new).st_gid))
        rename(new, path)

    monkeypatch.setattr(os, "rename", look)
    monkeypatch.setattr(os, "fchown", lambda fd, uid, gid: changed.append((uid, gid, chown(fd, uid, gid) or 0)))
    old = os.umask(0o077)
    try:
        replace_file(file, b"new", mode=mode, group=os.getgid())
    finally:
        os.umask(old)
    assert seen == [(mode, os.getgid())]
    assert changed == [(-1, os.getgid(), 0)]


def test_no_two_writers_use_one_name(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[str] = []
    monkeypatch.setattr(os, "rename", lambda new, _path: used.append(os.path.basename(new)))
    for _ in range(100):
        replace_file(file, b"new", mode=0o600)
    assert len(set(used)) == 100
    assert all(name.startswith(".file.") for name in used), "sweep and the state's sweep know it by that"


@pytest.mark.parametrize("target", ["victim", "absent"])
def test_a_link_under_the_name_of_the_new_file_is_not_followed(
    file: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    victim = file.parent / "victim"
    victim.write_bytes(b"mine")
    monkeypatch.setattr(os, "urandom", bytes)
    planted = file.parent / f".file.{'00' * 8}"
    planted.symlink_to(file.parent / target)
    with pytest.raises(FileExistsError):
        replace_file(file, b"new", mode=0o600)
    assert (victim.read_bytes(), file.read_bytes()) == (b"mine", b"old")
    assert names(file) == [planted.name, "file", "victim"], "and what others put there stays"


def test_a_failed_rename_leaves_the_old_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_paths: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(OSError, match="Input/output"):
        replace_file(file, b"new", mode=0o600)
    assert (file.read_bytes(), names(file)) == (b"old", ["file"])


def test_a_write_that_stops_halfway_leaves_the_old_file(file: Path) -> None:
    """As on a full disk: the first write(2) is short and no error, only the next one fails."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, old[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            replace_file(file, bytes(1 << 17), mode=0o600)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert (file.read_bytes(), names(file)) == (b"old", ["file"])


def test_a_file_that_is_there_is_not_replaced_by_an_exclusive_writer(file: Path) -> None:
    with pytest.raises(FileExistsError):
        replace_file(file, b"new", mode=0o600, exclusive=True)
    assert (file.read_bytes(), names(file)) == (b"old", ["file"])
    file.unlink()
    file.symlink_to("absent")
    with pytest.raises(FileExistsError):
        replace_file(file, b"new", mode=0o600, exclusive=True)
    file.unlink()
    replace_file(file, b"new", mode=0o600, exclusive=True)
    assert (file.read_bytes(), names(file), file.stat().st_nlink) == (b"new", ["file"], 1)


def test_a_link_is_replaced_and_not_what_it_leads_to(file: Path) -> None:
    link = file.parent / "link"
    link.symlink_to(file)
    replace_file(link, b"new", mode=0o600)
    assert (file.read_bytes(), link.read_bytes(), link.is_symlink()) == (b"old", b"new", False)


def test_a_reader_sees_one_content_or_the_other(file: Path) -> None:
    contents = [bytes([number]) * (1 << 20) for number in range(2)]
    replace_file(file, contents[0], mode=0o600)
    writer = threading.Thread(target=lambda: [replace_file(file, contents[n % 2], mode=0o600) for n in range(100)])
    writer.start()
    seen: list[bytes] = []
    while writer.is_alive():
        seen.append(read_regular(file, 1 << 20).data)
    writer.join()
    assert seen
    assert set(seen) <= set(contents)


def test_sweep_removes_what_writers_of_that_file_left(file: Path) -> None:
    for name in (".file.00", ".other.00", "file.00", ".file"):
        (file.parent / name).touch()
    sweep(file)
    assert names(file) == [".file", ".other.00", "file", "file.00"]


def test_what_is_no_regular_file_is_not_read_or_waited_for(file: Path) -> None:
    os.mkfifo(file.parent / "pipe")
    for path in (file.parent, file.parent / "pipe", Path("/dev/zero")):
        with pytest.raises(NotRegular, match=f"{path} is no regular file"):
            read_regular(path, 10)


def test_a_link_is_followed_unless_that_is_not_wanted(file: Path) -> None:
    link = file.parent / "link"
    link.symlink_to(file)
    assert read_regular(os.fsencode(link), 10).data == b"old"
    with pytest.raises(OSError, match="symbolic links"):
        read_regular(link, 10, follow=False)


def test_a_file_beyond_the_limit_is_refused(file: Path) -> None:
    file.write_bytes(bytes(1 << 20))
    assert len(read_regular(file, 1 << 20).data) == 1 << 20
    file.write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(TooLarge, match="more than 1 MiB"):
        read_regular(file, 1 << 20)


def test_no_descriptor_is_left_open(file: Path) -> None:
    before = os.listdir("/proc/self/fd")
    for path in (file, file.parent):
        for limit in (10, 1):
            try:
                read_regular(path, limit)
            except OSError:
                pass
    assert os.listdir("/proc/self/fd") == before


def test_a_directory_that_others_decide_on_is_refused(tmp_path: Path) -> None:
    """Its owner, its mode, those of each directory on the way, and of what a symbolic link on the way leads to."""
    place = tmp_path / "a" / "b"
    place.mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to(place)
    check_directory(place)
    for one in (place, place.parent):
        for mode, refused in ((0o755, False), (0o1777, False), (0o775, False), (0o777, True), (0o757, True)):
            one.chmod(mode)
            for way in (place, link):
                with pytest.raises(OthersMayWrite, match="may write to") if refused else nullcontext():
                    check_directory(way)
        one.chmod(0o755)
        for user, group, mode in ((65534, 0, 0o755), (0, 65534, 0o775)):
            os.chown(one, user, group)
            one.chmod(mode)
            with pytest.raises(OthersMayWrite):
                check_directory(link)
        os.chown(one, 0, 0)
        one.chmod(0o755)
    os.lchown(link, 65534, 0)
    with pytest.raises(OthersMayWrite, match=f"{link} belongs to user 65534"):
        check_directory(link)


@pytest.mark.parametrize("there", ["pipe", "link", "directory"])
def test_what_others_put_under_the_file_s_name_stops_nothing(tmp_path: Path, there: str) -> None:
    victim, path = tmp_path / "victim", tmp_path / "metrics.prom"
    victim.write_text("old")
    {"pipe": lambda: os.mkfifo(path), "link": lambda: path.symlink_to(victim), "directory": path.mkdir}[there]()
    with pytest.raises(IsADirectoryError) if there == "directory" else nullcontext():
        replace_file(path, b"new", mode=0o644)
    assert victim.read_text() == "old"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["metrics.prom", "victim"]
    assert there == "directory" or path.read_text() == "new"


def test_nothing_is_written_that_would_not_be_read_again(tmp_path: Path) -> None:
    path = tmp_path / "silences.json"
    run_directory.write(path, b"x" * run_directory.LARGEST)
    with pytest.raises(TooLarge, match="16 MiB"):
        run_directory.write(path, b"x" * (run_directory.LARGEST + 1))
    assert len(run_directory.read(path) or b"") == run_directory.LARGEST
