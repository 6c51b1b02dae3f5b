"""The rules over the package's rooms: nothing breaks them, and each of them can be broken."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.support import rooms
from tests.support.rooms import Modules

Rule = Callable[[Modules], list[str]]

BREAKS: dict[Rule, dict[str, str]] = {
    rooms.unlisted: {"attic": ""},
    rooms.absent: {"model": ""},
    rooms.upward: {"model.host": "from ..report import build", "report.build": ""},
    rooms.impure: {"judge.leaked": "import time"},
    rooms.ctypes_elsewhere: {"observe.paths": "from ctypes import CDLL"},
    rooms.kernel_elsewhere: {"cli.who": "from mountwarden.kernel import syscalls", "kernel.syscalls": ""},
    rooms.acting: {"cli.detach": "from ..remedies import detach", "remedies.detach": ""},
    rooms.not_apart: {"graphdriver.overlay": "from ..systemd import units", "systemd.units": ""},
    rooms.twins: {"report.build": "class Facts: ...", "busy.answer": "class Facts: ..."},
    rooms.vague: {"busy.facts": ""},
}
"""Modules that break each rule."""


@pytest.fixture(scope="module")
def package() -> Modules:
    return rooms.of_the_package()


@pytest.mark.parametrize("rule", BREAKS, ids=lambda rule: rule.__name__)
def test_the_package_keeps_the_rule(rule: Rule, package: Modules) -> None:
    assert rule(package) == []


@pytest.mark.parametrize("rule", BREAKS, ids=lambda rule: rule.__name__)
def test_the_rule_can_be_broken(rule: Rule) -> None:
    assert rule(rooms.read(BREAKS[rule])) != []


@pytest.mark.parametrize(
    ("rule", "modules"),
    [
        (rooms.upward, {"judge.leaked": "from ..mounts import table", "mounts.table": ""}),
        (rooms.upward, {"judge.leaked": "def late():\n    from mountwarden import scan", "scan": ""}),
        (rooms.upward, {"model": "if TYPE_CHECKING:\n    from mountwarden.cli import main", "cli.main": ""}),
        (rooms.impure, {"mounts.table": "def read():\n    return open('/proc/mounts')"}),
        (rooms.impure, {"ledger.update": "from ..observe import processes", "observe.processes": ""}),
        (rooms.kernel_elsewhere, {"systemd.units": "from ..kernel import syscalls", "kernel.syscalls": ""}),
        (rooms.acting, {"remedies.plan": "from . import apply", "remedies.apply": ""}),
    ],
)
def test_breaks_of_other_forms_are_seen_too(rule: Rule, modules: dict[str, str]) -> None:
    assert rule(rooms.read(modules)) != []


def test_what_is_allowed_breaks_nothing() -> None:
    texts = {
        "": "",
        "model": "import enum",
        "judge.leaked": "import re\nfrom ..model import Finding",
        "systemd.units": "from ..kernel import child",
        "kernel.child": "import ctypes",
        "cli.detach": "from ..remedies import apply, plan",
        "remedies.apply": "from . import detach",
        "remedies.detach": "from ..kernel import child",
        "remedies.plan": "",
    }
    rules = [rule for rule in BREAKS if rule is not rooms.absent]
    assert [found for rule in rules for found in rule(rooms.read(texts))] == []


def test_the_service_loads_nothing_that_it_does_not_need() -> None:
    program = f"import sys, mountwarden.{rooms.SERVICE}; print(*sys.modules)"
    command, env = [sys.executable, "-c", program], {"PYTHONPATH": str(rooms.AGENT)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    loaded = {name.removeprefix("mountwarden.") for name in done.stdout.split() if name.startswith("mountwarden.")}
    assert rooms.SERVICE in loaded, "nothing would be seen in an interpreter that did not load it"
    assert {name for name in loaded if rooms.within(name, rooms.NEVER_LOADED)} == set()
