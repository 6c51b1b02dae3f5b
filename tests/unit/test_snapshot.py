"""The file of a snapshot: what it holds and leaves out, and that a damaged one is refused, whatever is in it."""

import contextlib
import dataclasses
import io
import json
import os
import re
import socket
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mountwarden.cli import predict
from mountwarden.cli import snapshot as command
from mountwarden.cli.main import main
from mountwarden.codec import DecodeError
from mountwarden.config.schema import RootEntry
from mountwarden.errors import MountwardenError
from mountwarden.model import (
    Evidence,
)
from mountwarden.output import report_text, terminal
from mountwarden.predict import umount
from mountwarden.snapshot import all_mounts, anonymize, redact
from mountwarden.snapshot import file as document
from mountwarden.snapshot.contents import Snapshot

from tests.support.snapshots import CONTAINER, made
from tests.unit.pictures import OTHER

PROJECT = Path(__file__).resolve().parents[2]


def written(snapshot: Snapshot) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(document.dumps(snapshot))
    return found


def parsed(found: object) -> Snapshot:
    return document.parse(json.dumps(found).encode())


def judge(snapshot: Snapshot) -> str:
    """Everything that report --from does with a snapshot."""
    told = command.report(snapshot)
    shown = report_text.render(told, report_text.View(terminal.Terminal(), 0.0, all=True)) + json.dumps(told)
    try:
        seen = all_mounts.seen(snapshot)
        told_of = [umount.answer(b"/mnt/a", seen, lazy=lazy, inode=seen.own) for lazy in (False, True)]
    except MountwardenError:
        return shown  # it has no survey, or not of that namespace, or the mount is locked
    return shown + "".join(map(predict.text, told_of))


def test_what_is_written_is_read_again() -> None:
    snapshot = made()
    assert parsed(written(snapshot)) == snapshot
    told = judge(snapshot)
    assert "leaked" in told
    assert "umount of /mnt/a would succeed" in told


def test_a_snapshot_that_an_earlier_version_took_is_read() -> None:
    snapshot = document.read(str(PROJECT / "tests/unit/snapshot-1.json"))
    assert "leaked" in judge(snapshot)
    assert (snapshot.hostname, snapshot.picture.roots, snapshot.survey) == (
        made().hostname,
        made().picture.roots,
        made().survey,
    )


def test_fields_that_others_wrote_are_passed_over() -> None:
    """Namespaces had `user` and `via` once, and a later version may have more."""
    found = written(made())
    for _inode, namespace in found["snapshot"]["picture"]["namespaces"]:
        namespace.update(user=None, via="process", later=[1])
    assert parsed(found) == made()


def test_predictions_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(tmp_path / "s.json")
    document.write(file, made())
    assert main(["predict", "umount", "--from", file, "/mnt"]) == 1, "what is mounted below it"
    assert "would fail: it is busy" in capsys.readouterr().out
    assert main(["predict", "umount", "--from", file, "--lazy", "/mnt", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [place["mount_id"] for place in told["reached"]] == [12, 13]
    assert [(place["mount_id"], place["why"]) for place in told["left"]] == [(22, "severed")]
    assert main(["predict", "umount", "--from", file, "--namespace", "7", "/mnt/a"]) == 1
    assert "process 7" in capsys.readouterr().out
    assert main(["predict", "umount", "--from", file, "--namespace", "99", "/mnt"]) == 2
    assert "there was no process 99" in capsys.readouterr().err
    document.write(file, dataclasses.replace(made(), survey=None), force=True)
    assert main(["predict", "umount", "--from", file, "/mnt"]) == 2
    assert "too many" in capsys.readouterr().err


def test_a_name_that_is_no_text_is_kept_to_the_byte() -> None:
    odd = dataclasses.replace(made(), entries=(RootEntry(b"/srv/\xff\\x41\n\xe2\x80\xae"),), hostname="a\udcffb\x1b[2J")
    again = parsed(written(odd))
    assert again.entries == odd.entries
    assert again.hostname == odd.hostname
    assert "\x1b" not in document.dumps(odd)
    assert "\x1b" not in judge(again)


def test_only_harmless_options_and_sources_are_kept() -> None:
    kept = redact.options(
        b"rw,password=hunter2,lowerdir=/a:/b,user=bob,size=64k,index=off,unknown,addr=10.0.0.1,mode=a b"
    )
    assert kept == b"rw,lowerdir=/a:/b,size=64k,index=off"
    assert [redact.source(s) for s in (b"overlay", b"/dev/sda1", b"//server/share", b"user@host:/x", b"")] == [
        b"overlay",
        b"/dev/sda1",
        b"",
        b"",
        b"",
    ]


def test_no_line_of_a_unit_file_but_what_makes_its_namespace() -> None:
    text = document.dumps(redact.clean(made()))
    assert "hunter2" not in text
    assert "server" not in text
    assert "PrivateTmp" in text


def test_an_anonymous_snapshot_has_no_name_and_the_same_judgement() -> None:
    snapshot = redact.clean(made())
    hidden = anonymize.anonymous(snapshot, b"salt")
    text = document.dumps(hidden)
    for name in ("acme", "hunter2", CONTAINER, "secret-name", 'boot"', "/X/", "/Y/"):
        assert name not in text, name
    for kept in ("overlay2", "merged", "/var/lib/docker/", ".scope", "PrivateTmp", "rslave"):
        assert kept in text, kept
    plain, other = (command.facts_of(one).findings for one in (snapshot, hidden))
    assert [(f.kind, f.severity, f.evidence) for f in plain] == [(f.kind, f.severity, f.evidence) for f in other]
    assert Evidence.HISTORY in {f.evidence for f in plain}
    (holder,) = hidden.members[OTHER].holders
    assert holder.unit == f"docker-{holder.container}.scope", "an equal name stays equal"
    again = anonymize.anonymous(snapshot, b"other salt")
    assert again.hostname != hidden.hostname
    assert anonymize.anonymous(snapshot).hostname not in (hidden.hostname, again.hostname), "a salt of its own"


def edited(change: Callable[[dict[str, Any]], object]) -> bytes:
    found = written(made())
    change(found)
    return json.dumps(found).encode()


def _put(*path: Any) -> Callable[[dict[str, Any]], None]:
    """Put the last of the arguments where the others lead."""

    def change(found: Any) -> None:
        *way, at, value = path
        for step in way:
            found = found[step]
        found[at] = value

    return change


WHOLE = json.dumps(written(made())).encode()
HOSTILE = {
    "empty": b"",
    "cut off": WHOLE[: len(WHOLE) // 2],
    "not UTF-8": b"\xff" + WHOLE,
    "deep": b"[" * 100_000,
    "a long number": b'{"schema":' + b"9" * 10_000 + b"}",
    "not a number": edited(_put("snapshot", "taken", float("nan"))),
    "never": edited(_put("snapshot", "taken", 1e300)),
    "another schema": edited(_put("schema", "mountwarden.snapshot/2")),
    "a report": b'{"schema":"mountwarden.report/2"}',
    "an array": b"[1]",
    "no facts": edited(_put("shared", None)),
    "an index beyond": edited(_put("snapshot", "picture", "copies", 0, "mount", 999)),
    "an index below": edited(_put("snapshot", "picture", "copies", 0, "mount", -1)),
    "no such severity": edited(_put("snapshot", "mode", "other")),
    "an enum that can't be hashed": edited(_put("snapshot", "mode", [])),
    "a field that is missing": edited(lambda found: found["snapshot"]["picture"].pop("boot_id")),
    "text for a number": edited(_put("shared", "Mount", 0, "id", "1")),
    "a truth for a number": edited(_put("shared", "Mount", 0, "id", True)),
    "a terminal's escape in an engine": edited(_put("shared", "Root", 0, "engine", "\\x1b[2J")),
    "mounts without what holds them": edited(_put("snapshot", "picture", "roots", 0, "bases", [])),
    "a mount id twice": edited(lambda f: f["snapshot"]["survey"]["tables"][0].__setitem__(1, [0, 0])),
    "no layout": edited(_put("shared", "Root", 0, "layout", [])),
    "too many roots": edited(lambda f: f["snapshot"]["picture"].update(roots=f["snapshot"]["picture"]["roots"] * 1001)),
    "more values than a host has": b"[" + b"0," * 13_000_000 + b"0]",
}


REASONS = {"more values than a host has": "more than 12,000,000 values", "too many roots": "more than 1,000 roots"}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_damaged_file_is_one_line_and_status_2(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "s.json"
    file.write_bytes(HOSTILE[name])
    assert main(["report", "--from", str(file)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    told = [line for line in err.splitlines() if not line.startswith("hint: ")]
    assert len(told) == 1
    assert told[0].startswith(f"mountwarden: {file} can't be judged: ")
    assert REASONS.get(name, "") in told[0]


def test_a_file_that_is_too_large_or_none_is_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    large, pipe = tmp_path / "large", tmp_path / "pipe"
    with large.open("wb") as file:
        file.truncate(document.LARGEST + 1)
    os.mkfifo(pipe)
    for file_name, why in ((large, "larger than 128 MiB"), (pipe, "no regular file"), (tmp_path / "none", "No such")):
        assert main(["explain", "--from", str(file_name), "mw-0123456789"]) == 2
        assert why in capsys.readouterr().err


def test_what_would_not_be_read_again_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, most in (("LARGEST", 100), ("_MOST_VALUES", 10), ("_MOST_ROOTS", 0)):
        with monkeypatch.context() as patch:
            patch.setattr(document, name, most)
            with pytest.raises(MountwardenError, match="too large to be read again"):
                document.write(str(tmp_path / "s.json"), made())
    assert not list(tmp_path.iterdir())


class Stream(io.TextIOWrapper):
    """A standard stream of bytes."""

    def __init__(self, data: bytes = b"") -> None:
        super().__init__(io.BytesIO(data))


def test_a_dash_is_stdout_and_stdin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    out = Stream()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", out)
        document.write("-", made(), force=True)
    data = out.buffer.getvalue()  # type: ignore[attr-defined]
    assert data == document.dumps(made()).encode()
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(sys, "stdin", Stream(data))
    assert document.read("-") == made()
    monkeypatch.setattr(sys, "stdin", Stream(b"{}"))
    with pytest.raises(MountwardenError, match="stdin can't be judged"):
        document.read("-")


@pytest.mark.parametrize("kind", ["fifo", "link", "dangling", "socket", "directory"])
def test_force_replaces_a_regular_file_alone(kind: str, tmp_path: Path) -> None:
    there, other = tmp_path / "s.json", tmp_path / "other"
    other.write_text("kept")
    make: dict[str, Callable[[], object]] = {
        "fifo": lambda: os.mkfifo(there),
        "link": lambda: there.symlink_to(other),
        "dangling": lambda: there.symlink_to("nowhere"),
        "socket": lambda: listening.bind(str(there)),
        "directory": there.mkdir,
    }
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listening:
        make[kind]()
    before = os.lstat(there)
    for act in (
        lambda: document.check(str(there), "name", force=True),
        lambda: document.write(str(there), made(), force=True),
    ):
        with pytest.raises(MountwardenError, match="no regular file"):
            act()
    assert (os.lstat(there).st_ino, other.read_text()) == (before.st_ino, "kept")
    document.write(str(other), made(), force=True)
    assert document.read(str(other)) == made()
    with pytest.raises(MountwardenError, match="is there already"):
        document.write(str(other), made())


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 1 << 70) | st.floats() | st.text(max_size=8) | st.sampled_from(["0:1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def places(found: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to each value of a document."""
    inner = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
    return [way, *(place for key, value in inner for place in places(value, (*way, key)))]


PLACES = [place for place in places(written(made())) if place]


@example([(("shared", "Mount", 10, "unique"), 0)])  # of no known age, and so in no row
@given(st.lists(st.tuples(st.sampled_from(PLACES), JUNK | st.none()), min_size=1, max_size=3))
def test_whatever_a_file_holds_is_judged_or_refused(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    found = written(made())
    for place, value in changes:
        try:
            _put(*place, value)(found)
        except (KeyError, IndexError, TypeError):
            pass  # an earlier change took it away
    try:
        snapshot = parsed(found)
    except DecodeError:
        return
    judge(snapshot)


def reachable(kind: Any) -> set[Any]:
    found = {one for inner in typing.get_args(kind) for one in reachable(inner)}
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        found |= {kind} | {one for name in hints for one in reachable(hints[name])}
    return found


def test_every_field_is_documented() -> None:
    chapter = (PROJECT / "docs/reference.md").read_text().split("## The snapshot's file\n")[1].split("\n## ")[0]
    for kind in reachable(Snapshot):
        assert f"`{kind.__name__}`" in chapter
        row = next(line for line in chapter.splitlines() if re.search(rf"^\|.*`{kind.__name__}`", line))
        missing = [f.name for f in dataclasses.fields(kind) if f"`{f.name}`" not in row]
        assert missing == [], kind.__name__
