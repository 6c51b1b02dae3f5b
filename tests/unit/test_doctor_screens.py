"""The screen of `mountwarden doctor`, compared with `screens/`, and its document with the reference."""

import os
import re
from pathlib import Path

import pytest
from mountwarden.cli import doctor as command
from mountwarden.config.schema import Config
from mountwarden.doctor import canary, engines, kernel, roots, system
from mountwarden.doctor.examine import Examination
from mountwarden.doctor.running import EngineRunning
from mountwarden.doctor.unknown import UnknownEngine, _engine
from mountwarden.engines.programs import PROGRAMS
from mountwarden.explain import lasting_fix
from mountwarden.model import Gap, Holder
from mountwarden.mounts import unguarded
from mountwarden.observe.capabilities import Interface
from mountwarden.output import doctor_text
from mountwarden.output.columns import width
from mountwarden.output.terminal import Terminal

from tests.unit.pictures import OTHER, host_root, mount, paths, table
from tests.unit.test_doctor import STATE, STATUS, foreseen, picture

SCREENS = Path(__file__).parent / "screens"


RUNNING = (
    EngineRunning(PROGRAMS["dockerd"], (Holder(812, "dockerd", unit="docker.service"),), 1, roots=(STATE,)),
    EngineRunning(PROGRAMS["nomad"], (Holder(900, "nomad", unit="nomad.service"),), 1),
    EngineRunning(PROGRAMS["conmon"], (Holder(2001, "conmon", user=1000, unit="user@1000.service"),), 12, user=1000),
)
"""One whose roots are known, one that no module knows, and a user's."""


def unknown() -> UnknownEngine:
    overlays = [
        mount(20 + n, 1, f"/var/lib/acme/overlay/{name}/merged", device=f"0:{20 + n}", fstype="overlay")
        for n, name in enumerate(("web", "db"))
    ]
    state = table(host_root(), *overlays)
    (directory,) = unguarded.directories(unguarded.candidates(state, ()))
    return _engine(directory, (Holder(4711, "acmed", unit="acmed.service"),), Config())


def whole() -> doctor_text.DoctorJson:
    """Lines of all sorts: long, wrapped, with hints of one and of several lines."""
    fix = str(lasting_fix.mount_flags_fix("leaky.service"))
    tried = [
        Interface("openat2(2)", True, None, "a detach can't be led astray"),
        Interface("NS_MNT_GET_NEXT", False, "ENOTTY", "this kernel does not have it"),
    ]
    checks = (
        kernel.release("6.18.0", "mountinfo", "asked for"),
        *kernel.interfaces(tried),
        system.agent(STATUS, running=False),
        *engines.running(RUNNING, 3, Config(), lambda uid: {1000: "ada"}[uid]),
        *engines.unknown([unknown()]),
        *roots.roots(picture(STATE), ()),
        *roots.cut_off([foreseen(fix=fix)]),
        *roots.gaps([Gap("the mounts of a namespace", "EACCES", OTHER, 3)]),
        canary.check(canary.CanaryResult(True, "", "a process of its own", 0.004, 0.003, 0.09)),
    )
    result = canary.CanaryResult(True, "", "a process of its own", 0.004, 0.003, 0.09)
    found = Examination(checks, tuple(tried), (foreseen(fix=fix),), result, engines=RUNNING, unknown=(unknown(),))
    return command.document(found, 1_790_000_000.0)


@pytest.mark.parametrize("columns", [40, 80])
def test_screen(columns: int) -> None:
    screen = doctor_text.render(whole(), Terminal(columns))
    path = SCREENS / f"doctor-{columns}.txt"
    if os.environ.get("MOUNTWARDEN_SCREENS") == "write":
        path.write_text(screen)
    assert screen == path.read_text()
    files = [line for line in screen.splitlines() if not line.startswith("      ")]
    assert max(map(width, files)) <= columns


def test_every_line_ends_in_its_status() -> None:
    document = whole()
    screen = doctor_text.render(document, Terminal(80))
    ends = re.findall(r"^.{75} ( {0,2}(?:ok|warn|fail))$", screen, re.MULTILINE)
    assert [end.strip() for end in ends] == [check["status"] for check in document["checks"]]


def test_colours_are_by_status() -> None:
    screen = doctor_text.render(whole(), Terminal(80, colour=True))
    assert "\x1b[1;31mfail\x1b[0m" in screen
    assert "\x1b[33mwarn\x1b[0m" in screen
    assert "\x1b[32m  ok\x1b[0m" in screen


def test_the_documents_fields_are_the_references() -> None:
    """A field that docs/reference.md does not have is not documented; one that only it has is gone."""
    reference = (Path(__file__).parents[2] / "docs/reference.md").read_text()
    chapter = reference.split("## The doctor's JSON\n")[1].split("\n## ")[0]
    named = set(re.findall(r"^\| `([^`]+)` \|", chapter, re.MULTILINE))
    assert named == set(paths(whole()))
