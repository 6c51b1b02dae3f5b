"""What PID 1 of several versions answers, read into facts; and the ways in which there is no answer."""

import sys
from collections.abc import Mapping
from typing import Any

import pytest
from mountwarden import bus
from mountwarden.bus import Directive, UnitFacts
from mountwarden.model import Gap

V252 = {
    b"Id": b"leaky.service",
    b"LoadState": b"loaded",
    b"FragmentPath": b"/etc/systemd/system/leaky.service",
    b"DropInPaths": [b"/etc/systemd/system/leaky.service.d/10-tmp.conf"],
    b"Transient": False,
    b"ActiveEnterTimestamp": 1795498811344433,
    b"ExecMainStartTimestamp": 1795498811338632,
    b"MainPID": 39,
    b"NeedDaemonReload": False,
    b"MountFlags": 1 << 18,
    b"PrivateTmp": True,
    b"PrivateDevices": False,
    b"ProtectSystem": b"full",
    b"ProtectHome": b"no",
    b"ProtectProc": b"default",
    b"ProcSubset": b"all",
    b"RootDirectory": b"",
    b"ReadOnlyPaths": [],
    b"BindPaths": [(b"/etc", b"/x", False, 16384)],
}


def test_facts_of_252() -> None:
    assert bus.facts("leaky.service", V252) == UnitFacts(
        id="leaky.service",
        loaded=True,
        fragment=b"/etc/systemd/system/leaky.service",
        drop_ins=(b"/etc/systemd/system/leaky.service.d/10-tmp.conf",),
        started=1795498811.338632,
        main_pid=39,
        mount_flags=bus.MS_PRIVATE,
        directives=(
            Directive("MountFlags", "private"),
            Directive("PrivateTmp", "yes"),
            Directive("ProtectSystem", "full"),
            Directive("BindPaths", "/etc"),
        ),
    )


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        # 257: the old property stays a boolean, the new one is text.
        ({b"PrivateTmp": True, b"PrivateTmpEx": b"connected"}, (Directive("PrivateTmp", "yes"),)),
        ({b"PrivateTmp": True, b"PrivateTmpEx": b"disconnected"}, (Directive("PrivateTmp", "disconnected"),)),
        ({b"PrivateTmp": False, b"PrivateTmpEx": b"no"}, ()),
        (
            {b"ProtectControlGroups": True, b"ProtectControlGroupsEx": b"strict"},
            (Directive("ProtectControlGroups", "strict"),),
        ),
        ({b"PrivatePIDs": b"yes"}, (Directive("PrivatePIDs", "yes"),)),
        ({b"PrivateBPF": b"no"}, ()),
        # Before 232 ProtectSystem was a string already; a type that we do not expect is not set.
        ({b"ProtectSystem": True}, ()),
        ({b"PrivateTmp": 7, b"MountFlags": b"private", b"ReadOnlyPaths": b"/a", b"ProtectHome": None}, ()),
        ({b"MountFlags": 1 << 20}, ()),
        ({b"MountFlags": 1 << 19}, (Directive("MountFlags", "slave"),)),
        ({b"ReadOnlyPaths": [b"/a", b"/b", b"/c", b"/d"]}, (Directive("ReadOnlyPaths", "/a /b /c …"),)),
        ({b"TemporaryFileSystem": [(b"/y", b"ro")]}, (Directive("TemporaryFileSystem", "/y"),)),
    ],
)
def test_directives(properties: Mapping[bytes, Any], expected: tuple[Directive, ...]) -> None:
    assert bus.facts("x.service", properties).directives == expected


def test_garbage_is_an_empty_answer() -> None:
    garbage = {
        b"Id": 3,
        b"FragmentPath": [b"/etc"],
        b"DropInPaths": b"/etc",
        b"MainPID": b"1",
        5: b"x",
        b"Transient": 1,
    }
    assert bus.facts("x.service", garbage) == UnitFacts("x.service", loaded=False)


def test_some_settings_make_a_namespace_in_some_versions_only() -> None:
    assert bus.facts("x.service", {b"PrivateNetwork": True}).perhaps
    assert not bus.facts("x.service", {b"PrivateNetwork": False, b"RootDirectory": b"", b"LoadCredential": []}).perhaps


def test_without_pystemd_there_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pystemd", None)
    monkeypatch.setitem(sys.modules, "pystemd.dbuslib", None)
    answer = bus.unit_facts("x.service")
    assert isinstance(answer, Gap)
    assert answer.what == "the settings of x.service"
    assert answer.reason.startswith("pystemd can't be imported")


def test_pystemd_is_not_imported_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pystemd", raising=False)  # another test may have loaded it
    bus.unit_facts("x.service")
    assert "pystemd" not in sys.modules


def test_a_call_that_hangs_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    import signal

    monkeypatch.setattr(bus, "DEADLINE", 0.2)
    monkeypatch.setattr(bus, "_open", lambda: signal.pause())
    answer = bus.unit_facts("x.service")
    assert isinstance(answer, Gap)
    assert "no answer" in answer.reason


def test_an_error_of_one_unit_costs_only_that_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def call(unit: bytes, interface: bytes) -> Mapping[bytes, Any]:
        if unit == b"bad.service":
            raise ValueError("no such unit")
        return {b"Id": unit, b"LoadState": b"loaded"} if interface == b"Unit" else {}

    monkeypatch.setattr(bus, "_open", lambda: call)
    assert bus.units_facts(("bad.service", "good.service")) == {
        "bad.service": Gap("the settings of bad.service", "PID 1 answered: no such unit"),
        "good.service": UnitFacts("good.service"),
    }


def test_nothing_asked_forks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus.forked, "ask", None)
    assert bus.units_facts(()) == {}
