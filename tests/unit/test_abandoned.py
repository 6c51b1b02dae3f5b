"""What home has mounted and nobody owns: the rule, when it is told, who decides on its umount, and what is shown."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from mountwarden.config import load
from mountwarden.config.schema import Config, Confirm, PolicyEntry
from mountwarden.explain import cause
from mountwarden.explain.context import Context
from mountwarden.judge import judge
from mountwarden.ledger.update import subject_of
from mountwarden.model import (
    OWNER_UNKNOWN,
    Action,
    Answers,
    Copy,
    Event,
    EventKind,
    Finding,
    Kind,
    LeftBehind,
    Namespace,
    Owned,
    OwnerQuestion,
    Ownership,
    Picture,
    Policy,
    Standing,
    Tier,
    grouped,
)
from mountwarden.mounts.roots import root_state
from mountwarden.output import explain_text, journal_messages, report_text
from mountwarden.output.terminal import Terminal
from mountwarden.remedies.actions import describe
from mountwarden.remedies.plan import plan
from mountwarden.report import build
from mountwarden.scan import confirm
from mountwarden.scan.result import Scan
from mountwarden.scan.scanner import Scanner

from tests.support.findings import History, changed
from tests.support.reports import NOW, facts, finding
from tests.unit.pictures import HOME, OTHER, ROOT, host_root, layer, mount, table
from tests.unit.test_confirm import Script

STATE = root_state(ROOT, table(host_root(), layer(2, 1)), HOME)
((_SPOT, (MOUNT,)),) = STATE.live.items()
STANDING = Standing(STATE.matches[_SPOT], MOUNT, HOME)
GONE = Ownership(Owned.GONE, LeftBehind.LAYER, "dockerd runs, no container has it", "the layer's directory X")


def picture(*copies: Copy, standing: Standing = STANDING) -> Picture:
    spaces = {OTHER: Namespace(OTHER, (7,)), HOME: Namespace(HOME, (1,))}
    shown = Picture("boot", Tier.MOUNTINFO, (STATE,), spaces, (), 0, frozenset({MOUNT.identity}), standing=(standing,))
    return shown.by(grouped(copies))


def found(shown: Picture, owner: Ownership | None) -> list[Finding]:
    known = {} if owner is None else {OwnerQuestion(HOME, MOUNT, STANDING.match): owner}
    return [one for one in judge(shown, Answers(owners=known)).findings if one.kind is Kind.ABANDONED]


def test_what_its_engine_proves_to_have_no_owner_is_told() -> None:
    (one,) = found(picture(), GONE)
    assert (one.severity, one.home, one.namespaces, one.first.mount_id) == ("warning", HOME, (HOME,), MOUNT.id)
    assert (one.spot, one.layer, one.first.seen_at) == (_SPOT, b"X", MOUNT.point)
    assert (one.detail, one.left, one.frees, one.asked) == (
        "its owner is gone: dockerd runs, no container has it",
        LeftBehind.LAYER,
        "the layer's directory X",
        True,
    )
    assert not found(picture(standing=dataclasses.replace(STANDING, asked=False)), GONE)[0].asked


@pytest.mark.parametrize("owner", [None, OWNER_UNKNOWN, Ownership(Owned.YES)], ids=["no answer", "unknown", "yes"])
def test_what_may_have_an_owner_is_not(owner: Ownership | None) -> None:
    assert found(picture(), owner) == []


def test_it_is_asked_for_who_owns_it() -> None:
    assert OwnerQuestion(HOME, MOUNT, STANDING.match) in judge(picture(), Answers()).questions


def test_nothing_is_told_where_a_namespace_has_it_as_its_own_root() -> None:
    own = mount(12, 11, "/", device=MOUNT.device, fstype="overlay")
    assert found(picture(Copy(OTHER, own, None, None)), GONE) == []
    elsewhere = dataclasses.replace(own, point=b"/mnt")
    assert len(found(picture(Copy(OTHER, elsewhere, None, None)), GONE)) == 1


def test_nothing_is_told_or_asked_where_the_home_is_not_known() -> None:
    root = dataclasses.replace(ROOT, home_known=False)
    there = dataclasses.replace(STANDING, match=dataclasses.replace(STANDING.match, root=root))
    assert found(picture(standing=there), GONE) == []
    assert not any(isinstance(one, OwnerQuestion) for one in judge(picture(standing=there), Answers()).questions)


def left(what: LeftBehind = LeftBehind.TASK, number: int = 1, **changes: object) -> Finding:
    """One that is abandoned."""
    point = b"/run/containerd/io.containerd.runtime.v2.task/moby/%d/rootfs" % number
    root = dataclasses.replace(ROOT, path=b"/run/containerd", engine="containerd")
    values: dict[str, object] = {
        "id": f"mw-01234{number:05}",
        "kind": Kind.ABANDONED,
        "evidence": None,
        "cause": None,
        "reach": None,
        "holders": (),
        "remedies": (),
        "root": root,
        "mountpoint": point,
        "seen_at": point,
        "left": what,
        "frees": f"the bundle of {number}",
        "detail": f"its owner is gone: containerd runs, no shim serves {number}",
    }
    one = finding(**values | changes)
    return dataclasses.replace(one, cause=cause.explain(one, Context()))


def test_it_is_told_after_five_minutes_in_which_each_scan_proved_it() -> None:
    one = changed(left(), confirmed=False)
    history = History()
    assert [history.scan(at, one) for at in (0, 60, 299)] == [[], [], []]
    assert history.scan(300, one) == [("found", one.id)]
    history = History()
    assert [history.scan(at, *there) for at, there in ((0, [one]), (200, []), (201, [one]), (500, [one]))] == [[]] * 4
    assert history.scan(501, one) == [("found", one.id)]


def test_an_answer_of_an_earlier_scan_confirms_nothing() -> None:
    one, stands = left(), dataclasses.replace(left(), asked=False)
    history = History()
    history.scan(0, one)
    assert history.scan(300, stands) == []
    assert history.ledger.entries[one.id].due == 305, "it is asked for soon"
    assert history.scan(305, one) == [("found", one.id)]


WAITED = Config(confirm=Confirm(abandoned=1.0))


class Scans(Script):
    """As many scans as are asked for: the last one again and again."""

    def scan(self, *, resync: bool = False) -> Scan:
        """The next one."""
        return self.scans.pop(0) if len(self.scans) > 1 else self.scans[0]


def waited(monkeypatch: pytest.MonkeyPatch, *scans: Sequence[Finding]) -> list[bool]:
    monkeypatch.setattr(confirm, "ASK_EVERY", 0.2)
    monkeypatch.setattr(confirm, "AT_LEAST", 0.05)
    found = confirm.confirmed_scan(cast("Scanner", Scans(*scans, config=WAITED)), wait=5.0)
    return [one.confirmed for one in found.findings]


def test_a_command_that_waits_asks_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    one = left(confirmed=False, since=None)
    assert waited(monkeypatch, [one]) == [True]
    assert waited(monkeypatch, [one], [], [one]) == [False], "one answer to the contrary is enough"


def test_a_command_that_does_not_wait_that_long_says_when_it_would_be_confirmed() -> None:
    one = left(confirmed=False, since=None)
    (found,) = confirm.confirmed_scan(cast("Scanner", Script([one], config=Config())), wait=5.0).findings
    assert (found.confirmed, found.due) == (False, NOW + 300)


def policy(**entry: Any) -> Config:
    return Config(policies=(PolicyEntry(Action.UNMOUNT, Policy.AUTO, **entry),))


def test_its_remedy_is_an_umount_at_home_that_is_left_to_a_human() -> None:
    (remedy,) = plan(left(), Config()).remedies
    assert (remedy.action, remedy.automatic, remedy.command) == ("unmount", False, f"mountwarden unmount {left().id}")
    assert remedy.by_hand == "umount /run/containerd/io.containerd.runtime.v2.task/moby/1/rootfs"
    assert describe(left(), Action.UNMOUNT)[-1] == "check again: gone; that frees the bundle of 1"
    nested = dataclasses.replace(left().root, home_pid=77)
    (remedy,) = plan(dataclasses.replace(left(), root=nested), Config()).remedies
    assert (remedy.by_hand or "").startswith("nsenter -t 77 -m umount /run/containerd/")


def test_a_path_that_a_shell_would_read_is_not_shown_to_be_pasted() -> None:
    (remedy,) = plan(left(seen_at=b"/run/a;b"), Config()).remedies
    assert (remedy.by_hand, remedy.command) == (None, f"mountwarden unmount {left().id}")


@pytest.mark.parametrize("what", LeftBehind)
def test_a_policy_makes_it_automatic_for_tasks_and_temporary_mounts_alone(what: LeftBehind) -> None:
    (remedy,) = plan(left(what), policy(kind=Kind.ABANDONED)).remedies
    assert remedy.automatic is (what in (LeftBehind.TASK, LeftBehind.TMPMOUNT)), remedy.reason


def test_a_policy_that_was_written_for_copies_elsewhere_is_none_for_it() -> None:
    (remedy,) = plan(left(), policy()).remedies
    assert not remedy.automatic
    (remedy,) = plan(left(), Config(policies=(PolicyEntry(Action.UNMOUNT, Policy.OFF),))).remedies
    assert remedy.command is None


@pytest.mark.parametrize(("engine", "refused"), [("docker", True), ("containerd", False)])
def test_config_check_refuses_a_policy_that_could_never_hold(tmp_path: Path, engine: str, refused: bool) -> None:
    (tmp_path / "mountwarden.toml").write_text(
        f'[[policy]]\naction = "unmount"\npolicy = "auto"\nkind = "abandoned"\nengine = "{engine}"\n'
    )
    errors = [error.message for error in load.check(bytes(tmp_path))]
    assert bool(errors) is refused
    assert all("what docker left behind is never unmounted by itself" in error for error in errors)


def shown(*findings: Finding) -> str:
    planned = [plan(one, Config()) for one in findings]
    return report_text.render(build.build(facts(planned)), report_text.View(Terminal(columns=110), NOW))


def test_two_thousand_are_one_group_with_one_command() -> None:
    lines = shown(*(left(number=number) for number in range(2000))).splitlines()
    assert "containerd root /run/containerd" in lines
    assert [line for line in lines if "abandoned:" in line] == [
        "● 2,000 abandoned: file systems of tasks, still mounted on the host, and nobody's any more"
    ]
    assert "  └ and 1,990 more" in lines
    assert "  why: The shim that was to unmount it has ended without doing so." in lines
    assert "  → mountwarden unmount --all --kind abandoned --root /run/containerd" in lines


def test_what_was_left_tells_groups_apart() -> None:
    tasks = [left(number=number) for number in range(3)]
    lines = shown(*tasks, left(LeftBehind.TMPMOUNT, 9)).splitlines()
    assert sum("abandoned:" in line for line in lines) == 2
    assert sum("→ mountwarden unmount mw-" in line for line in lines) == 2


def test_one_is_explained_with_what_it_frees_and_why_its_umount_is_safe() -> None:
    one = plan(left(), Config())
    document = explain_text.Explanation(build.finding_json(one), build.steps(one), NOW, "2026-11-29T20:00:16.184Z")
    text = " ".join(explain_text.render(document, Terminal(columns=100)).split())
    assert "Its end frees the bundle of 1." in text
    assert "Nobody: the host itself has it mounted." in text
    assert "its engine is asked once more right before" in text
    assert "by hand, without these checks: umount /run/containerd/" in text
    assert "its engine proves once more that nobody owns it" in text


def test_its_entry_in_the_journal_says_why() -> None:
    event = Event(EventKind.FOUND, "key", NOW, subject=subject_of(left(), NOW))
    assert journal_messages.sentence(event) == (
        "/run/containerd/io.containerd.runtime.v2.task/moby/1/rootfs is abandoned: the layer is still mounted on the "
        f"host, and nobody owns it; The shim that was to unmount it has ended without doing so ({left().id})"
    )
