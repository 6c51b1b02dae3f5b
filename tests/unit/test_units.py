"""What PID 1 of several versions answers, read into facts; and the ways in which there is no answer."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mountwarden
import pytest
from mountwarden.model import MS_PRIVATE, Directive, Gap, UnitFacts
from mountwarden.systemd import units

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
    assert units.facts("leaky.service", V252) == UnitFacts(
        id="leaky.service",
        loaded=True,
        fragment=b"/etc/systemd/system/leaky.service",
        drop_ins=(b"/etc/systemd/system/leaky.service.d/10-tmp.conf",),
        started=1795498811.338632,
        main_pid=39,
        mount_flags=MS_PRIVATE,
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
    assert units.facts("x.service", properties).directives == expected


def test_garbage_is_an_empty_answer() -> None:
    garbage = {
        b"Id": 3,
        b"FragmentPath": [b"/etc"],
        b"DropInPaths": b"/etc",
        b"MainPID": b"1",
        5: b"x",
        b"Transient": 1,
    }
    assert units.facts("x.service", garbage) == UnitFacts("x.service", loaded=False)


def test_some_settings_make_a_namespace_in_some_versions_only() -> None:
    assert units.facts("x.service", {b"PrivateNetwork": True}).perhaps
    assert not units.facts(
        "x.service", {b"PrivateNetwork": False, b"RootDirectory": b"", b"PrivateUsers": True}
    ).perhaps


def test_without_pystemd_there_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pystemd", None)
    monkeypatch.setitem(sys.modules, "pystemd.dbuslib", None)
    answer = units.unit_facts("x.service")
    assert isinstance(answer, Gap)
    assert answer.what == "the settings of x.service"
    assert answer.reason.startswith("pystemd can't be imported")


def test_pystemd_is_not_imported_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pystemd", raising=False)  # another test may have loaded it
    units.unit_facts("x.service")
    assert "pystemd" not in sys.modules


def test_a_call_that_hangs_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    import signal

    monkeypatch.setattr(units, "DEADLINE", 0.2)
    monkeypatch.setattr(units, "_open", lambda: signal.pause())
    answer = units.unit_facts("x.service")
    assert isinstance(answer, Gap)
    assert "no answer" in answer.reason


def test_an_error_of_one_unit_costs_only_that_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def call(unit: bytes, interface: bytes) -> Mapping[bytes, Any]:
        if unit == b"bad.service":
            raise ValueError("no such unit")
        return {b"Id": unit, b"LoadState": b"loaded"} if interface == b"Unit" else {}

    monkeypatch.setattr(units, "_open", lambda: call)
    assert units.units_facts(("bad.service", "good.service")) == {
        "bad.service": Gap("the settings of bad.service", "PID 1 answered: no such unit"),
        "good.service": UnitFacts("good.service"),
    }


def test_nothing_asked_forks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units.child, "ask", None)
    assert units.units_facts(()) == {}


SYSTEM_PYTHON = "/usr/bin/python3"
IMPORTS = f"""
import importlib, sys
sys.path.insert(0, {str(Path(mountwarden.__file__).parents[1])!r})
import importlib.util
if importlib.util.find_spec("pystemd") is None:
    sys.exit("no pystemd")
from mountwarden.systemd import units as bus
how = {{"spared": bus.library, "plain": lambda name: importlib.import_module(f"pystemd.{{name}}")}}[sys.argv[1]]
for name in sys.argv[2:]:
    assert how(name).__name__ == f"pystemd.{{name}}"
from pystemd.journal import sendv
from pystemd.dbuslib import DBus, DBusAddress, path_encode
assert path_encode(b"/a", b"b.c") == b"/a/b_2ec"
status = open("/proc/self/status").read().split()
print(status[status.index("VmRSS:") + 1], "lxml" in sys.modules)
"""


@pytest.mark.skipif(not os.access(SYSTEM_PYTHON, os.X_OK), reason=f"{SYSTEM_PYTHON} is what the launcher runs")
@pytest.mark.parametrize("names", [("journal", "dbuslib"), ("dbuslib", "journal")])
def test_the_package_itself_is_spared(names: tuple[str, str]) -> None:
    def loaded(how: str) -> tuple[int, str]:
        command = [SYSTEM_PYTHON, "-I", "-c", IMPORTS, how, *names]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if "no pystemd" in done.stderr:
            pytest.skip(f"{SYSTEM_PYTHON} has no pystemd")
        assert done.stderr == ""
        kib, lxml = done.stdout.split()
        return int(kib), lxml

    spared, plain = loaded("spared"), loaded("plain")
    assert (spared[1], plain[1]) == ("False", "True")
    assert spared[0] < plain[0] - 3 * 1024, "it is for the memory"


def test_a_package_whose_modules_need_it_is_imported_whole(tmp_path: Path) -> None:
    (tmp_path / "pystemd").mkdir()
    (tmp_path / "pystemd/__init__.py").write_text("from .dbuslib import answer as answered\nneeded = 7\n")
    (tmp_path / "pystemd/dbuslib.py").write_text("answer = 1\n")
    (tmp_path / "pystemd/journal.py").write_text("from pystemd import needed\n")
    code = """
import sys
sys.path[:0] = sys.argv[1:]
from mountwarden.systemd import units as bus
assert bus.library("dbuslib").answer == 1
assert not hasattr(sys.modules["pystemd"], "needed"), "an empty module stands for the package"
del sys.modules["pystemd"], sys.modules["pystemd.dbuslib"]
assert bus.library("journal").needed == 7
"""
    agent = str(Path(mountwarden.__file__).parents[1])
    subprocess.run([sys.executable, "-I", "-c", code, str(tmp_path), agent], check=True)
