"""The screen of `mountwarden doctor`, compared with `screens/`, and its document with the reference."""

import os
import re
from pathlib import Path

import pytest
from mountwarden.cli import doctor as command
from mountwarden.doctor import canary, kernel, roots, system
from mountwarden.doctor.examine import Examination
from mountwarden.explain import lasting_fix
from mountwarden.model import Gap
from mountwarden.observe.capabilities import Interface
from mountwarden.output import doctor_text
from mountwarden.output.columns import width
from mountwarden.output.terminal import Terminal

from tests.unit.pictures import OTHER, paths
from tests.unit.test_doctor import STATE, STATUS, foreseen, picture

SCREENS = Path(__file__).parent / "screens"


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
        *roots.roots(picture(STATE), ()),
        *roots.cut_off([foreseen(fix=fix)]),
        *roots.gaps([Gap("the mounts of a namespace", "EACCES", OTHER, 3)]),
        canary.check(canary.CanaryResult(True, "", "a process of its own", 0.004, 0.003, 0.09)),
    )
    result = canary.CanaryResult(True, "", "a process of its own", 0.004, 0.003, 0.09)
    return command.document(Examination(checks, tuple(tried), (foreseen(fix=fix),), result), 1_790_000_000.0)


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
