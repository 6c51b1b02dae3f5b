"""The screens at 40, 80 and 160 columns, compared with `screens/`; MOUNTWARDEN_SCREENS=write renews these."""

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mountwarden.cli.plan import lines
from mountwarden.config.schema import Config
from mountwarden.escape import timestamp
from mountwarden.ledger import update
from mountwarden.model import (
    Action,
    Cause,
    Event,
    EventKind,
    Evidence,
    Finding,
    Gap,
    Holder,
    Kind,
    MountClass,
    NamespaceKind,
    Picture,
    Remedy,
    RootState,
    Severity,
)
from mountwarden.output import columns as text
from mountwarden.output import explain_text, journal_messages, phrases, report_text
from mountwarden.output.terminal import Terminal
from mountwarden.remedies.plan import plan
from mountwarden.report import answers, types
from mountwarden.report import build as report

from tests.support.reports import DETACH, DOCKER, LEAKY, NOW, facts, finding

SCREENS = Path(__file__).parent / "screens"
LONG = b"/var/lib/docker/overlay2/%b/merged" % (b"0f3d5b7a9c1e" * 5)
SHARE = Remedy(Action.SHARE, False, "the mount that contains it reaches beyond it", "mountwarden share mw-0123456793")
RESTART = Remedy(Action.RESTART, False, "restarting the container gives it a new namespace", None)
HOSTILE = Holder(99, "a\x1b[2Jb", container="deadbeef" * 8)
BUSY = tuple(Holder(pid, f"worker{pid}", unit=r"big\x2ddata.service") for pid in range(500, 506))


def detach(finding_id: str) -> Remedy:
    return Remedy(Action.DETACH, False, "docker is not running", f"mountwarden detach {finding_id}")


def leak(number: int, mountpoint: bytes, **changes: Any) -> Finding:
    name = f"mw-01234567{number:02}"
    return finding(**{"id": name, "mountpoint": mountpoint, "remedies": (detach(name),), **changes})


def crowded() -> types.ReportJson:
    """A bad night: many holders, long, foreign and hostile names, and something of everything."""
    hazard = "the same upperdir is mounted again on the host: its data is at risk"
    many = [leak(10 + n, b"/var/lib/docker/overlay2/%02d/merged" % n, holders=BUSY, cause=None) for n in range(14)]
    found = [
        *many,
        leak(1, b"/var/lib/docker/overlay2/a1b2/merged", since=NOW - 5000),
        leak(2, "/var/lib/docker/overlay2/層の名前/merged".encode()),
        leak(3, LONG, severity=Severity.CRITICAL, detail=hazard),
        finding(
            id="mw-0123456792",
            mountpoint="/srv/דוגמה/merged".encode() + b"\x1b[31m\n",
            holders=(HOSTILE,),
            namespace_kind=NamespaceKind.CONTAINER,
            remedies=(RESTART,),
            cause=Cause("not-known", "Nothing explains it."),
        ),
        finding(
            id="mw-0123456793",
            kind=Kind.PRIVATE_ROOT,
            mountpoint=DOCKER.path,
            seen_at=b"/",
            holders=(),
            cause=None,
            evidence=None,
            remedies=(SHARE,),
        ),
        leak(94, b"/var/lib/docker/overlay2/new/merged", confirmed=False, since=NOW, holders=(Holder(7, "x"),)),
        finding(id="mw-0123456795", kind=Kind.SEVERED, severity=Severity.INFO, evidence=None, remedies=()),
    ]
    gaps = (Gap("the mounts of a namespace", "EACCES: Permission denied", 4026532999, 3),)
    return report.build(facts(found, gaps=gaps, paused=True, mode="observe"))


def wide() -> types.ReportJson:
    """Layers that leaked into 25 namespaces each, one of them into another 3, and what takes 90 s to be confirmed."""

    def pools(one: Finding, first: int, many: int, namespaces: int) -> Finding:
        copies = [
            replace(
                one.first,
                namespace=4026532500 + at,
                holders=(Holder(1000 + at, "php-fpm", f"pool@{at}.service"),),
                seen_at=one.mountpoint if at % 2 else b"/host" + one.mountpoint,
            )
            for at in range(first, first + many)
        ]
        return replace(one, copies=tuple(copies), count=namespaces + 1, spaces=namespaces)

    layers = [leak(at, b"/var/lib/docker/overlay2/%02d/merged" % at, evidence=Evidence.SPOT) for at in range(7)]
    netns = {"mountpoint": b"/run/docker/netns/ab12", "mount_class": MountClass.NETNS, "evidence": Evidence.SPOT}
    waits = finding(id="mw-0123456799", confirmed=False, since=NOW - 5, due=NOW + 85, remedies=(), **netns)
    found = [*(pools(one, 0, 20, 25) for one in layers[:6]), pools(layers[6], 5, 3, 3), waits]
    return report.build(facts(found))


def healthy() -> types.ReportJson:
    return report.build(facts([]))


def one() -> types.ReportJson:
    return report.build(facts([finding()]))


def blind() -> types.ReportJson:
    state = RootState(DOCKER, None, None, status="its home could not be read")
    values = {name: getattr(facts([]).picture, name) for name in Picture.__dataclass_fields__}
    return report.build(facts([], picture=Picture(**{**values, "roots": (state,)})))


def shown(told: types.ReportJson, columns: int, **changes: Any) -> str:
    return report_text.render(told, report_text.View(**{"terminal": Terminal(columns), "now": NOW, **changes}))


def check(name: str, screen: str) -> None:
    """Compare a screen with the one that was looked at."""
    path = SCREENS / f"{name}.txt"
    if os.environ.get("MOUNTWARDEN_SCREENS") == "write":
        path.write_text(screen, encoding="utf-8")
    assert screen == path.read_text(encoding="utf-8")


def too_wide(screen: str, columns: int) -> list[str]:
    """Lines wider than the terminal. Commands may be: half a command is worse than a long line."""
    return [
        line for line in screen.splitlines() if text.width(line) > columns and "→ " not in line and "-> " not in line
    ]


@pytest.mark.parametrize("columns", [40, 80, 160])
@pytest.mark.parametrize("told", [crowded, healthy, one, blind, wide])
def test_screens(told: Any, columns: int) -> None:
    screen = shown(told(), columns)
    check(f"report-{told.__name__}-{columns}", screen)
    assert too_wide(screen, columns) == []


def test_screen_with_everything() -> None:
    check("report-crowded-all-80", shown(crowded(), 80, all=True))


def test_screen_of_a_stored_report() -> None:
    check("report-stored-80", shown(one(), 80, note="the service's report of 40 s ago; a scan now needs root"))


@pytest.mark.parametrize("columns", [20, 27, 33, 61, 97])
def test_no_width_breaks_it(columns: int) -> None:
    assert too_wide(shown(crowded(), columns, all=True), columns) == []


def test_nothing_raw_reaches_a_terminal() -> None:
    screen = shown(crowded(), 80, all=True)
    assert all(character.isprintable() for line in screen.splitlines() for character in line)
    assert r"a\x1b[2Jb" in screen


@pytest.mark.parametrize("columns", [40, 80, 160])
def test_right_to_left_names_stay_in_their_place(columns: int) -> None:
    plain = shown(crowded(), columns) + explain_text.render(night(), Terminal(columns))
    marked = shown(crowded(), columns, terminal=Terminal(columns, bidi=True))
    marked += explain_text.render(night(), Terminal(columns, bidi=True))
    assert "/srv/\u2066דוגמה\u2069/merged" in marked
    assert marked.replace("\u2066", "").replace("\u2069", "") == plain
    assert too_wide(marked, columns) == []
    for line in marked.splitlines():
        assert line.count("\u2066") == line.count("\u2069"), "no line leaves a mark open for the next"


def test_colours_change_nothing_else() -> None:
    told = crowded()
    coloured = shown(told, 80, terminal=Terminal(80, colour=True))
    assert "\x1b[1;31m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == shown(told, 80)


def test_other_encodings_get_ascii() -> None:
    assert shown(one(), 80, terminal=Terminal(80, ascii=True)).isascii()


def test_a_person_who_sees_nothing_wrong_is_told_where_to_go_on() -> None:
    hint = "something is busy all the same: mountwarden who PATH"
    assert hint in shown(healthy(), 80, terminal=Terminal(80, interactive=True))
    assert hint not in shown(healthy(), 80), "a script is not"
    assert hint not in shown(one(), 80, terminal=Terminal(80, interactive=True))


def test_a_command_for_a_whole_group_names_its_unit() -> None:
    assert r"→ mountwarden detach --all --unit 'big\x2ddata.service'" in shown(crowded(), 40)


def test_a_command_for_few_names_them() -> None:
    assert "→ mountwarden detach mw-0123456701 mw-0123456702\n" in shown(crowded(), 40)


def test_what_is_not_seen_is_not_claimed() -> None:
    gap = report.build(facts([], gaps=(Gap("x", "EACCES"),)))
    assert phrases.headline(healthy()) == "nothing is wrong"
    assert phrases.headline(gap) == "nothing wrong was found"


@pytest.mark.parametrize("columns", [40, 80])
def test_stories(columns: int) -> None:
    told = report.build(facts([finding(remedies=(finding().remedies[0], RESTART))]))
    steps = {"detach": ["scan again", "rename an empty directory over it"]}
    screen = explain_text.render(
        explain_text.Explanation(told["findings"][0], steps, NOW, told["taken"]), Terminal(columns)
    )
    check(f"story-{columns}", screen)
    assert too_wide(screen, columns) == []


@pytest.mark.parametrize("columns", [40, 80])
def test_a_story_of_many_namespaces(columns: int) -> None:
    told = wide()
    (six, seven) = (next(f for f in told["findings"] if f["namespaces"] == many) for many in (25, 3))
    for name, found in (("25", six), ("3", seven)):
        screen = explain_text.render(explain_text.Explanation(found, {}, NOW, told["taken"]), Terminal(columns))
        check(f"story-of-{name}-{columns}", screen)
        assert too_wide(screen, columns) == []


def test_what_waits_says_for_how_long_and_how_to_wait_for_it() -> None:
    told = wide()
    foot = "1 finding not confirmed: seen for less than the confirm time; confirmed at the earliest in 85 s"
    assert f"{foot} (--wait 90)\n" in shown(told, 200)
    assert f"{foot}\n" in shown({**told, "agent": {"pid": 1, "resync": 60.0}}, 200), "the service waits by itself"
    sooner = finding(id="mw-0123456798", confirmed=False, since=NOW - 0.5, due=NOW + 0.5)
    both = report.joined(told, report.build(facts([sooner]))["findings"])
    assert "confirmed at the earliest in 1 to 85 s (--wait 90)\n" in shown(both, 200)


def night() -> explain_text.Explanation:
    """A story with everything: foreign names, all sources of times, a chain, settings, a fix."""
    path = "/var/lib/docker/overlay2/層の名前-דוגמה/merged"
    found = finding(
        mountpoint=path.encode(), seen_at=b"/host" + path.encode(), remedies=(finding().remedies[0], RESTART)
    )
    told = report.build(facts([found]))
    fragment = "/etc/systemd/system/leaky.service"
    moment = {"after": None, "before": None, "source": None}
    timeline: list[Any] = [
        {**moment, "what": "mounted", "at": None, "after": timestamp(NOW - 900), "text": f"{path} was mounted"},
        {**moment, "what": "started", "at": timestamp(NOW - 800), "text": "leaky.service started"},
        {
            **moment,
            "what": "told",
            "at": timestamp(NOW - 190),
            "text": "told in the journal",
            "source": "journal",
        },
    ]
    group: dict[str, Any] = {"propagation": "shared", "peer_group": 52, "master": None, "cut": False}
    none: dict[str, Any] = {"propagation": "private", "peer_group": None, "master": None, "cut": False}
    chain: Any = {
        "home": {
            "who": "home",
            "namespace": 4026531841,
            "levels": [{"point": "/var/lib/docker", **group}],
            "mountpoint": path,
            "mount": None,
        },
        "holder": {
            "who": "leaky.service",
            "namespace": 4026532500,
            "levels": [{"point": "/", **none}, {"point": "/host/var/lib/docker", **none, "cut": True}],
            "mountpoint": f"/host{path}",
            "mount": "overlay 0:41, mount 812",
        },
        "group": {"id": 52, "peers": 1, "slaves": 3},
        "broken": "/host/var/lib/docker is private: it receives nothing from home's peer group 52",
    }
    setting = {"unit": "leaky.service", "name": "MountFlags", "value": "private", "file": fragment, "line": 7}
    background: types.BackgroundJson = {
        "timeline": timeline,
        "chain": chain,
        "settings": [{**setting, "note": None}],  # type: ignore[typeddict-item]
        "fix": {
            "text": "Let umounts reach leaky.service: it keeps a mount namespace of its own.",
            "file": f"{fragment}.d/90-propagation.conf",
            "content": "[Service]\nMountFlags=slave\n",
            "commands": ["systemctl daemon-reload", "systemctl restart leaky.service"],
        },
    }
    return explain_text.Explanation(told["findings"][0], {"detach": ["scan again"]}, NOW, told["taken"], background)


@pytest.mark.parametrize("columns", [40, 80, 160])
def test_whole_stories(columns: int) -> None:
    screen = explain_text.render(night(), Terminal(columns))
    check(f"story-whole-{columns}", screen)
    assert too_wide(screen, columns) == []


@pytest.mark.parametrize("columns", [20, 27, 33, 61, 97])
def test_no_width_breaks_a_story(columns: int) -> None:
    assert too_wide(explain_text.render(night(), Terminal(columns)), columns) == []


def test_a_story_in_ascii_has_no_sign_of_ours() -> None:
    screen = explain_text.render(night(), Terminal(80, ascii=True))
    assert not set("└✗→↓…") & set(screen)


def test_a_finding_that_is_over_has_its_story_too() -> None:
    background: types.BackgroundJson = {"timeline": [], "chain": None, "settings": [], "fix": None}
    entry: Any = {"what": "cleared", "at": timestamp(NOW), "after": None, "before": None, "text": "it is over"}
    screen = explain_text.render_over(
        "mw-x", {**background, "timeline": [{**entry, "source": "journal"}]}, Terminal(80)
    )
    assert screen == "mw-x  is over: no scan shows it now\n  2026-09-21 14:13:20Z  cleared: it is over (journal)\n"


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("space", [None, *NamespaceKind])
def test_every_kind_has_its_words(kind: Kind, space: NamespaceKind | None) -> None:
    told = report.build(facts([finding(kind=kind, namespace_kind=space, holders=_holders(space))]))
    assert phrases.wrong(told["findings"][0]).startswith(f"{kind}: ")
    assert f"● {kind}: " in shown(told, 160)
    assert str(kind) in explain_text.render(
        explain_text.Explanation(told["findings"][0], {}, NOW, told["taken"]), Terminal(80)
    )


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("what", MountClass)
@pytest.mark.parametrize("evidence", Evidence)
def test_it_is_told_as_what_it_is_and_unmounted_only_where_that_is_known(
    kind: Kind, what: MountClass, evidence: Evidence
) -> None:
    """Of kinds other than leaked, home either has the mount, or was seen to unmount it."""
    found = finding(kind=kind, mount_class=what, evidence=evidence, mountpoint=b"/x", remedies=(DETACH,))
    one = report.build(facts([found]))["findings"][0]
    story = " ".join(
        explain_text.render(explain_text.Explanation(one, {}, NOW, timestamp(NOW)), Terminal(10_000)).split()
    )
    event = Event(EventKind.FOUND, "key", NOW, subject=update.subject_of(found, NOW))
    entry = dict(journal_messages.entry(event))
    texts = (shown(report.build(facts([found])), 10_000), story, entry["MESSAGE"])
    assert entry["MOUNTWARDEN_MOUNT_CLASS"] == what
    if kind in (Kind.LEAKED, Kind.PINNED):
        others = {noun for other in MountClass if other is not what for noun in NOUNS[other]}
        for text_ in texts:
            assert [noun for noun in others if re.search(rf"\b{noun}\b", text_)] == [], text_
            assert any(noun in text_ for noun in NOUNS[what]), text_
    if kind is Kind.LEAKED:
        for text_ in texts:
            assert ("unmounted on the host" in text_) == (evidence is Evidence.HISTORY)
            assert ("the engine's record says" in text_) == (evidence is Evidence.RECORD)
            assert ("not mounted on the host" in text_) == (evidence in (Evidence.SPOT, Evidence.CLAIMED))


NOUNS = {
    MountClass.LAYER: ("layer",),
    MountClass.SHM: ("shared memory", "memory"),
    MountClass.NETNS: ("network namespace",),
    MountClass.VOLUME: ("volume",),
}


def test_a_stack_at_home_has_no_remedy_and_a_way_out_by_hand() -> None:
    init = Holder(1, "systemd", "init.scope")
    found = plan(finding(kind=Kind.STACKED, home=5, namespace=5, holders=(init, LEAKY)), Config())
    told = report.build(facts([found]))
    screen = " ".join(
        explain_text.render(explain_text.Explanation(told["findings"][0], {}, NOW, told["taken"]), Terminal(80)).split()
    )
    assert "Remedies Stop what mounts it there again and again, then umount(8) what is on top" in screen
    assert "the last one may be in use" in screen
    planned = "\n".join(lines(answers.planned(found)))
    assert "umount(8)" in planned
    for seen in (screen, planned, shown(told, 80, all=True)):
        assert re.search(r"systemctl|kill|ending|always works", seen) is None


def _holders(space: NamespaceKind | None) -> Sequence[Holder]:
    return (LEAKY,) if space else ()


@pytest.mark.parametrize("evidence", Evidence)
def test_every_evidence_has_its_words(evidence: Evidence) -> None:
    told = report.build(facts([finding(evidence=evidence)]))["findings"][0]
    assert (phrases.known(evidence) or "") in " ".join(
        explain_text.render(explain_text.Explanation(told, {}, NOW, ""), Terminal(400)).split()
    )
