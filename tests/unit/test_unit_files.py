"""Where a directive is set, by systemd.syntax(7)."""

import os
from pathlib import Path

import pytest
from mountwarden.model import Assignment, UnitFile
from mountwarden.systemd import unit_files
from mountwarden.systemd.namespacing_directives import LIST, TABLE
from mountwarden.systemd.unit_syntax import locate, parse

MAIN = b"""# comment
[Unit]
Description = a \\
# in between
; and here
  b
MountFlags=private

[Service]
PrivateTmp=true
ExecStart=/bin/echo \\\\
ReadOnlyPaths=/a
"""


def file(path: bytes, text: bytes) -> UnitFile:
    return UnitFile(path, parse(text))


def test_lines_are_counted_over_comments_and_continuations() -> None:
    assert parse(MAIN) == (
        Assignment(b"Unit", "Description", b"a    b", 3),
        Assignment(b"Unit", "MountFlags", b"private", 7),
        Assignment(b"Service", "PrivateTmp", b"true", 10),
        Assignment(b"Service", "ExecStart", b"/bin/echo \\\\", 11),
        Assignment(b"Service", "ReadOnlyPaths", b"/a", 12),
    )


@pytest.mark.parametrize(
    "text", [b"", b"[", b"[Service", b"\x00\xff\n=\n==\n", b"PrivateTmp", b"\\", b"[Service]\na=b\\"]
)
def test_odd_text_raises_nothing(text: bytes) -> None:
    assert all(item.line >= 1 for item in parse(text))


def test_a_byte_order_mark_is_no_part_of_the_section() -> None:
    assert parse(b"\xef\xbb\xbf[Service]\nPrivateTmp=1\n")[0].section == b"Service"


def test_only_the_sections_of_a_command_count() -> None:
    assert locate([file(b"/u", MAIN)], "MountFlags", "private") is None


def test_yes_in_every_spelling() -> None:
    for word in (b"1", b"yes", b"YES", b"on", b"true", b"t", b"y"):
        found = locate([file(b"/u", b"[Service]\nPrivateTmp=" + word)], "PrivateTmp", "yes")
        assert found
        assert found[1] == 2


def test_the_last_assignment_wins_over_all_files() -> None:
    main = file(b"/main", b"[Service]\nMountFlags=private\n")
    drop_in = file(b"/drop-in", b"[Service]\n\nMountFlags=private\n")
    assert locate([main, drop_in], "MountFlags", "private") == (drop_in, 3)


def test_a_value_that_is_not_in_effect_is_not_the_place() -> None:
    main = file(b"/main", b"[Service]\nProtectSystem=strict\n")
    drop_in = file(b"/drop-in", b"[Service]\nProtectSystem=full\n")
    assert locate([main, drop_in], "ProtectSystem", "strict") == (main, 2)
    assert locate([main, drop_in], "ProtectSystem", "yes") is None


def test_a_list_begins_after_its_last_reset() -> None:
    main = file(b"/main", b"[Service]\nReadOnlyPaths=/a\nReadOnlyPaths=/b\n")
    reset = file(b"/drop-in", b"[Service]\nReadOnlyPaths=\nReadOnlyPaths=/c\nReadOnlyPaths=/d\n")
    assert locate([main], "ReadOnlyPaths", "/a /b") == (main, 2)
    assert locate([main, reset], "ReadOnlyPaths", "/c /d") == (reset, 3)


@pytest.mark.parametrize("name", [row.name for row in TABLE if row.neutral == LIST])
def test_every_list_of_the_table_adds_up(name: str) -> None:
    main = file(b"/u", f"[Service]\n{name}=/a::ro\n{name}=/b\n".encode())
    assert locate([main], name, "/a /b") == (main, 2)


def test_reads_only_below_the_folders_of_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    units = tmp_path / "units"
    units.mkdir()
    monkeypatch.setattr(unit_files, "PLACES", (os.fsencode(units) + b"/",))
    (units / "a.service").write_text("[Service]\nPrivateTmp=yes\n")
    (tmp_path / "outside.service").write_text("[Service]\nPrivateTmp=yes\n")
    (units / "link.service").symlink_to("../outside.service")
    (units / "alias.service").symlink_to("a.service")
    os.mkfifo(units / "fifo.service")
    (units / "big.service").write_bytes(b"#" * (1 << 20) + b"\n")

    def read(name: str) -> UnitFile | None:
        return unit_files.read(os.fsencode(units / name))

    plain = read("a.service")
    assert plain
    assert plain.assignments == (Assignment(b"Service", "PrivateTmp", b"yes", 2),)
    assert plain.modified == (units / "a.service").stat().st_mtime
    assert read("alias.service")
    assert [
        read(name) for name in ("link.service", "fifo.service", "big.service", "none.service", "../outside.service")
    ] == [None] * 5
