"""Which directives of a unit gave it a mount namespace, by what systemctl prints."""

import io
from typing import Any

import pytest
from mountwarden.systemd import own_unit

CAT = """\
# /usr/lib/systemd/system/my.service
[Service]
PrivateTmp=yes
ProtectSystem=full
BindPaths=/a:/a

# /etc/systemd/system/my.service.d/late.conf
[Service]
ProtectSystem=no
PrivateTmp=true
"""
SHOW = "PrivateTmp=yes\nProtectSystem=no\nMountFlags=\nTemporaryFileSystem=[unprintable]\nProtectProc=default\n"
SHOW += "BindPaths=/a:/a\nPrivateIPC=yes\nDescription=a=b\n"

OLD = "# /x/my.service\n[Service]\nReadOnlyDirectories=/srv\n"

TMP = "PrivateTmp=true (/etc/systemd/system/my.service.d/late.conf, line 3)"
BIND = "BindPaths=/a:/a (/usr/lib/systemd/system/my.service, line 4)"
SYSTEM = "ProtectSystem=full (/usr/lib/systemd/system/my.service, line 3)"


@pytest.mark.parametrize(
    ("files", "properties", "found"),
    [
        (CAT, SHOW, f"{TMP}, {BIND}"),
        ("", SHOW, "PrivateTmp=yes, BindPaths=/a:/a, PrivateIPC=yes"),
        (CAT, "", f"{TMP}, {BIND}, {SYSTEM}"),
        (OLD, "ReadOnlyPaths=/srv\n", "ReadOnlyDirectories=/srv (/x/my.service, line 2)"),
        ("", "", None),
    ],
    ids=["both", "only-properties", "only-files", "an-older-name", "nothing"],
)
def test_what_is_in_effect_is_named_with_its_place(files: str, properties: str, found: str | None) -> None:
    assert own_unit.found_in(files, properties) == found


@pytest.mark.parametrize(
    ("cgroup", "asked"),
    [
        ("0::/system.slice/my\\x2dgd.service\n", "my\\x2dgd.service"),
        ("0::/user.slice/user-0.slice/session-1.scope\n", "session-1.scope"),
        ("0::/\n", None),
    ],
)
def test_systemctl_is_asked_about_our_own_unit(monkeypatch: pytest.MonkeyPatch, cgroup: str, asked: str | None) -> None:
    units = []

    def answer(command: str, unit: str) -> str:
        units.append(unit)
        return SHOW if command == "show" else CAT

    def cgroup_file(*_of: Any, **_how: Any) -> io.StringIO:
        return io.StringIO(cgroup)

    monkeypatch.setattr(own_unit, "open", cgroup_file, raising=False)
    monkeypatch.setattr(own_unit, "_systemctl", answer)
    assert own_unit.namespacing_settings() == (f"{TMP}, {BIND}" if asked else None)
    assert units == ([asked] * 2 if asked else [])
