"""What mounts a service was given, by the properties that PID 1 has of it; what of a config.json is a bind mount."""

import json
from typing import Any

import pytest
from mountwarden.explain.oci import binds_in
from mountwarden.systemd.unit_mounts import UnitMount, given

CASES: dict[str, tuple[dict[bytes, Any], list[UnitMount]]] = {
    "binds": (
        {
            b"BindPaths": [(b"/mnt/usb", b"/data", False, 0x4000)],
            b"BindReadOnlyPaths": [(b"/a", b"/a", True, 0)],
        },
        [UnitMount("BindPaths", b"/data", b"/mnt/usb"), UnitMount("BindReadOnlyPaths", b"/a", b"/a")],
    ),
    "images": (
        {
            b"RootImage": b"/img",
            b"MountImages": [(b"/i", b"/there", False, [])],
            b"ExtensionImages": [(b"/e", False, [])],
        },
        [UnitMount("MountImages", b"/there"), UnitMount("ExtensionImages", b""), UnitMount("RootImage", b"/")],
    ),
    "a root, and an empty tree": (
        {b"RootDirectory": b"/srv", b"TemporaryFileSystem": [(b"/var", b"ro")]},
        [UnitMount("TemporaryFileSystem", b"/var"), UnitMount("RootDirectory", b"/", b"/srv")],
    ),
    "nothing set": ({b"BindPaths": [], b"RootDirectory": b"", b"RootImage": b""}, []),
    "nothing known": ({}, []),
    "other types": ({b"BindPaths": b"/a:/b", b"MountImages": [(b"/i",), b"x", (1, 2)], b"RootImage": 7}, []),
}


@pytest.mark.parametrize("case", CASES)
def test_properties(case: str) -> None:
    properties, expected = CASES[case]
    assert list(given(properties)) == expected


def test_bind_mounts_of_a_configuration() -> None:
    mounts = [
        {"destination": "/data", "source": "/v", "type": "bind"},
        {"destination": "/opt", "source": "/o", "type": "none", "options": ["rbind", "ro"]},
        {"destination": "/proc", "source": "proc", "type": "proc"},
        {"destination": "/dev", "source": "tmpfs", "type": "tmpfs", "options": ["nosuid", 7]},
        {"destination": "relative", "source": "/v", "type": "bind"},
        {"destination": "/x", "source": "\ud800", "type": "bind"},
        "text",
    ]
    assert binds_in(json.dumps({"mounts": mounts}).encode()) == [(b"/v", b"/data"), (b"/o", b"/opt")]


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"mounts": 7}', b'{"mounts": null}', b"[" * 100_000])
def test_what_is_no_configuration_has_none(text: bytes) -> None:
    assert binds_in(text) == []
