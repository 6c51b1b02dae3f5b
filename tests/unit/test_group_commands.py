"""The command that a report shows below a group: for the findings of that group, and no others."""

from dataclasses import replace

import pytest
from mountwarden.model import Action, Finding, Holder, Kind, Remedy
from mountwarden.output import report_text
from mountwarden.output.terminal import Terminal
from mountwarden.report import build

from tests.support.findings import changed
from tests.support.reports import NOW, facts, finding


def leak(number: int, action: Action = Action.DETACH, **changes: object) -> Finding:
    name = f"mw-01234567{number:02}"
    remedy = Remedy(action, False, "a reason", f"mountwarden {action} {name}")
    return changed(finding(id=name, mountpoint=b"/r/%d/merged" % number), **{"remedies": (remedy,), **changes})


def commands(*findings: Finding) -> list[str]:
    text = report_text.render(build.build(facts(findings)), report_text.View(Terminal(columns=160), NOW))
    return [line.removeprefix("  → ") for line in text.splitlines() if line.startswith("  → ")]


def test_few_are_named_by_their_ids() -> None:
    assert commands(*(leak(n) for n in range(3))) == ["mountwarden detach mw-0123456700 mw-0123456701 mw-0123456702"]


def test_many_of_one_unit_are_named_by_it() -> None:
    assert commands(*(leak(n) for n in range(6))) == ["mountwarden detach --all --unit leaky.service"]


@pytest.mark.parametrize(
    "other",
    [
        leak(90, detail="another group"),
        leak(90, holders=(Holder(1, "a", "a.service"), Holder(2, "b", "leaky.service"))),
    ],
    ids=["of another group", "of another holder"],
)
def test_a_unit_that_stands_for_other_findings_too_does_not_name_the_group(other: Finding) -> None:
    other = replace(other, cause=None)
    ids = " ".join(f"mw-01234567{n:02}" for n in range(6))
    assert f"mountwarden detach {ids}" in commands(*(leak(n) for n in range(6)), other)


def test_findings_with_other_remedies_are_other_groups() -> None:
    mixed = [leak(1), leak(2, Action.UNMOUNT), leak(3)]
    assert commands(*mixed) == ["mountwarden detach mw-0123456701 mw-0123456703", "mountwarden unmount mw-0123456702"]


def test_each_advice_is_for_the_findings_that_it_ends() -> None:
    one, two = (
        leak(n, kind=Kind.PINNED, remedies=(Remedy(Action.RESTART, False, "closes it", f"kill {n}"),)) for n in (1, 2)
    )
    assert commands(one, two, replace(one, id="mw-0123456703")) == ["kill 1", "kill 2"]
    unnamed = [replace(one, remedies=(Remedy(Action.RESTART, False, f"ending {n}", None),)) for n in ("a", "b")]
    assert commands(*unnamed) == ["restart: ending a", "restart: ending b"]


def test_what_the_service_declined_is_shown_with_its_reason_and_the_next_remedy() -> None:
    def declined(number: int, why: str) -> Finding:
        name = f"mw-01234567{number:02}"
        tried = Remedy(Action.DETACH, False, why, f"mountwarden detach {name}", declined=True)
        return leak(number, remedies=(tried, Remedy(Action.UNMOUNT, False, "r", f"mountwarden unmount {name}")))

    def text(*findings: Finding) -> str:
        return report_text.render(build.build(facts(findings)), report_text.View(Terminal(columns=160), NOW))

    assert commands(declined(1, "declined: in use")) == ["mountwarden unmount mw-0123456701"]
    assert "  detach: declined: in use\n" in text(declined(1, "declined: in use"))
    both = text(declined(1, "declined: in use"), declined(2, "declined: bound"))
    assert "  detach: declined, each for a reason of its own\n" in both
    assert "→ mountwarden unmount mw-0123456701 mw-0123456702\n" in both


def test_what_has_no_other_remedy_keeps_the_declined_one() -> None:
    tried = Remedy(Action.DETACH, False, "declined: in use", "mountwarden detach mw-0123456701", declined=True)
    assert commands(leak(1, remedies=(tried,))) == ["mountwarden detach mw-0123456701"]
