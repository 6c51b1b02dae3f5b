"""Where the service refuses to run, and whom it names."""

import os
from pathlib import Path

import pytest
from mountwarden.errors import RefusedToRun
from mountwarden.service import preflight


def proc(place: Path, first: str, own: str) -> str:
    """A stand-in for /proc with the namespaces of PID 1 and of ourselves."""
    for name, link in (("1", first), ("self", own)):
        (place / name / "ns").mkdir(parents=True)
        os.symlink(link, place / name / "ns/mnt")
    return str(place)


def test_it_runs_in_pid_1s_namespace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert preflight.check(proc(tmp_path, "mnt:[1]", "mnt:[1]")) == ()


def test_elsewhere_it_refuses_with_the_directive_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(RefusedToRun) as refused:
        preflight.check(proc(tmp_path, "mnt:[1]", "mnt:[2]"), settings=lambda: "PrivateTmp=yes")
    assert refused.value.status == 78
    assert "PrivateTmp=yes" in refused.value.message
    assert "\n" not in refused.value.message


def test_without_root_it_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(RefusedToRun, match="needs root"):
        preflight.check()


@pytest.mark.parametrize(("own", "same"), [("20 1 0:1\n30 20 0:2\n", True), ("90 1 0:1\n91 90 0:2\n", False)])
def test_an_unreadable_pid_1_is_judged_by_mount_ids_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str, same: bool
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    place = proc(tmp_path, "mnt:[1]", "mnt:[1]")
    (tmp_path / "1/mountinfo").write_text("20 1 0:1\n30 20 0:2\n")
    (tmp_path / "self/mountinfo").write_text(own)
    real = os.readlink

    def readlink(path: str) -> str:
        if path == f"{place}/1/ns/mnt":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "readlink", readlink)
    if same:
        (gap,) = preflight.check(place)
        assert "ids of its mounts" in gap.reason
    else:
        with pytest.raises(RefusedToRun):
            preflight.check(place, settings=lambda: None)
