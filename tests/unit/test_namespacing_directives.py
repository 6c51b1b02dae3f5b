"""The table of the directives that make a mount namespace, and a line of a unit file read by it."""

from pathlib import Path
from typing import Any

import pytest
from mountwarden.model import Directive
from mountwarden.systemd import units
from mountwarden.systemd.namespacing_directives import TABLE, NamespacingDirective, setting

NAMES = [row.name for row in TABLE]
ROWS = pytest.mark.parametrize("row", TABLE, ids=NAMES)
OTHERS: dict[type, tuple[Any, str]] = {bool: (True, "yes"), str: ("a", "a"), list: (["/a"], "/a")}
"""A value of each type on D-Bus that no directive takes for nothing, and how it is told."""


def test_a_directive_has_one_row() -> None:
    assert sorted(NAMES) == sorted(set(NAMES))


@ROWS
def test_a_unit_file_sets_it_or_not(row: NamespacingDirective) -> None:
    assert setting(f"{row.name}=/a::ro") == f"{row.name}=/a::ro"
    assert setting(f"{row.name}=") is None
    for value in row.neutral.written:
        assert setting(f"{row.name} = {value.upper()} ") is None


@ROWS
def test_pid_1_says_that_it_is_in_effect_or_not(row: NamespacingDirective) -> None:
    for plain in row.neutral.dbus:
        value, words = OTHERS[type(plain)] if not row.mark else ([(b"a", b"", 1)], "")
        key = row.name.encode() + (b"Symlink" if row.mark else b"")
        unset, told = units.facts("x.service", {key: plain}), units.facts("x.service", {key: value})
        assert (unset.directives, unset.perhaps) == ((), False)
        assert told.directives == ((Directive(row.name, words),) if row.always else ())
        assert told.perhaps is not row.always


@pytest.mark.parametrize(
    ("items", "perhaps"),
    [
        ([(b"a", b"", 0), (b"b", b"link", 0)], False),
        ([(b"a", b"", 0), (b"b", b"link", 1)], True),
        ([(b"a",), b"b", 7], False),
        (b"a", False),
    ],
)
def test_a_directory_makes_one_only_if_it_is_read_only(items: Any, perhaps: bool) -> None:
    told = units.facts("x.service", {b"StateDirectorySymlink": items, b"StateDirectory": [b"a", b"b"]})
    assert (told.directives, told.perhaps) == ((), perhaps)
    assert setting("StateDirectory=a b:link") is None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("PrivateTmp=yes", "PrivateTmp=yes"),
        ("  ProtectSystem = strict ", "ProtectSystem=strict"),
        ("ReadOnlyPaths=/srv /opt", "ReadOnlyPaths=/srv /opt"),
        ("MountFlags=private", "MountFlags=private"),
        ("BindPaths=/a:/b", "BindPaths=/a:/b"),
        ("PrivateBPF=yes", "PrivateBPF=yes"),
        ("IPCNamespacePath=/run/ipc", "IPCNamespacePath=/run/ipc"),
        ("NetworkNamespacePath=/run/netns/a", "NetworkNamespacePath=/run/netns/a"),
        ("BindLogSockets=yes", "BindLogSockets=yes"),
        ("PrivateTmp=no", None),
        ("PrivateTmp=N", None),
        ("StateDirectory=a b::ro", "StateDirectory=a b::ro"),
        ("RootDirectory=/", None),
        ("PrivateUsers=yes", None),
        ("LoadCredential=a:/etc/a", None),
        ("MountFlags=shared", None),
        ("PrivateTmp=", None),
        ("ProtectProc=default", None),
        ("#PrivateTmp=yes", None),
        ("# PrivateTmp=yes", None),
        ("NoNewPrivileges=yes", None),
        ("MemoryMax=1G", None),
        ("", None),
    ],
)
def test_settings_that_make_a_mount_namespace(line: str, expected: str | None) -> None:
    assert setting(line) == expected


def test_the_shipped_unit_has_none() -> None:
    unit = Path(__file__).parents[2] / "units/mountwarden.service"
    assert [line for line in unit.read_text().splitlines() if setting(line)] == []
