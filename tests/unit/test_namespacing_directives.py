"""The table of the directives that make a mount namespace, and a line of a unit file read by it."""

from pathlib import Path
from typing import Any

import pytest
from mountwarden import bus
from mountwarden.bus import Directive
from mountwarden.namespacing_directives import TABLE, NamespacingDirective, setting

NAMES = [row.name for row in TABLE]
ROWS = pytest.mark.parametrize("row", TABLE, ids=NAMES)
OTHERS: dict[type, tuple[Any, str]] = {bool: (True, "yes"), str: ("a", "a"), list: (["/a"], "/a")}
"""A value of each type on D-Bus that no directive takes for nothing, and how it is told."""


def test_a_directive_has_one_row() -> None:
    assert sorted(NAMES) == sorted(set(NAMES))


@ROWS
def test_a_unit_file_sets_it_or_not(row: NamespacingDirective) -> None:
    assert setting(f"{row.name}=/a") == f"{row.name}=/a"
    assert setting(f"{row.name}=") is None
    for value in row.neutral.written:
        assert setting(f"{row.name} = {value.upper()} ") is None


@ROWS
def test_pid_1_says_that_it_is_in_effect_or_not(row: NamespacingDirective) -> None:
    for plain in row.neutral.dbus:
        unset = bus.facts("x.service", {row.name.encode(): plain})
        assert (unset.directives, unset.perhaps) == ((), False)
        value, told = OTHERS[type(plain)]
        told_of = bus.facts("x.service", {row.name.encode(): value})
        assert told_of.directives == ((Directive(row.name, told),) if row.always else ())
        assert told_of.perhaps is not row.always


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
        ("PrivateUsers=yes", None),
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
