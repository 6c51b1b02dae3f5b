"""The story around a finding, from facts made by hand: the timeline, the chain, the unit's settings."""

from dataclasses import replace
from typing import Any

import pytest
from mountwarden.escape import timestamp
from mountwarden.explain import cause
from mountwarden.explain.context import Context
from mountwarden.model import (
    MS_PRIVATE,
    Cause,
    Directive,
    Evidence,
    Finding,
    Holder,
    Kind,
    NamespaceKind,
    Reach,
    UnitFacts,
    UnitFile,
)
from mountwarden.report import chain, timeline
from mountwarden.report.timeline import TimelineFacts
from mountwarden.report.types import MomentJson
from mountwarden.report.unit_settings import settings
from mountwarden.systemd.unit_syntax import parse

from tests.support.reports import NOW, finding, mount

START = NOW - 3600
BORN = NOW - 3700
HOME = mount(id=2, point=b"/var/lib/docker", shared=52)
CUT = mount(id=31, parent=30, point=b"/var/lib/docker", shared=0)
TOP = mount(id=30, parent=1, shared=0)
FLAGS = Directive("MountFlags", "private")
TMP = Directive("PrivateTmp", "yes")
FRAGMENT = b"/etc/systemd/system/leaky.service"
FILE = UnitFile(FRAGMENT, parse(b"[Service]\nPrivateTmp=yes\nMountFlags=private\n"), START - 60)
UNIT = UnitFacts("leaky.service", started=START, mount_flags=MS_PRIVATE, directives=(FLAGS, TMP))
AROUND = Context((CUT, TOP), UNIT, (FILE,), home=HOME)


def explained(**changes: Any) -> Finding:
    return finding(**{"cause": Cause(cause.MOUNT_FLAGS, "x"), **changes})


def told(found: Finding, known: TimelineFacts, around: Context = AROUND) -> dict[str, MomentJson]:
    moments = timeline.moments(found, around, settings(around), known)
    assert len({moment["what"] for moment in moments}) == len(moments)
    return {moment["what"]: moment for moment in moments}


def entry(event: str, at: float = NOW, **fields: str) -> dict[str, Any]:
    return {"at": timestamp(at), "event": event, "message": f"a {event}", "unit": None, **fields}


def test_the_whole_story_in_its_order() -> None:
    entries = (entry("found"), entry("acted", NOW + 1, action="detach", text="gone"), entry("cleared", NOW + 2))
    moments = told(explained(), TimelineFacts(BORN, START, entries, agent=True))
    assert list(moments) == ["mounted", "started", "cut", "unmounted", "found", "told", "acted", "cleared"]
    mounted = moments["mounted"]
    assert (mounted["at"], mounted["after"], mounted["before"]) == (None, timestamp(BORN), timestamp(START))
    assert (moments["started"]["at"], moments["started"]["source"]) == (timestamp(START), "systemd")
    assert moments["cut"]["at"] == timestamp(START)
    assert moments["cut"]["text"].endswith("MountFlags=private (/etc/systemd/system/leaky.service:3)")
    assert moments["unmounted"]["at"] == timestamp(NOW - 195)
    assert moments["unmounted"]["text"] == "unmounted on the host: mountwarden.service saw its mount go"
    assert mounted["text"].endswith("/merged was mounted on the host")
    assert (moments["told"]["at"], moments["told"]["text"]) == (timestamp(NOW), "reported in the journal")
    assert moments["cleared"]["text"] == ""
    assert moments["acted"]["text"] == "detach: gone"


def test_what_nothing_tells_is_not_known() -> None:
    bare = Context(AROUND.above, home=HOME)
    found = explained(cause=Cause(cause.ROOT_PRIVATE, "x"), evidence=Evidence.SPOT)
    moments = told(found, TimelineFacts(), bare)
    assert [name for name, moment in moments.items() if moment["at"]] == ["found"]
    assert moments["unmounted"]["before"] == timestamp(NOW - 195)
    assert (moments["mounted"]["after"], moments["mounted"]["before"]) == (None, None)
    assert moments["cut"]["source"] is None
    assert moments["unmounted"]["text"] == "not mounted on the host; it was never seen there"
    assert moments["mounted"]["text"] == "/var/lib/docker/overlay2/a1b2/merged was mounted", "nobody saw it at home"
    recorded = told(replace(found, evidence=Evidence.RECORD), TimelineFacts(), bare)
    assert recorded["unmounted"]["text"] == "unmounted on the host, as the engine's record says; nothing saw it go"


def test_a_copy_that_may_have_come_later_is_not_bounded_by_its_namespace() -> None:
    found = explained(cause=Cause(cause.ROOT_PRIVATE, "x"))
    assert told(found, TimelineFacts(BORN, START))["mounted"]["before"] is None


def test_the_service_knows_more_than_this_look() -> None:
    found = explained(evidence=Evidence.SPOT)
    entries = (entry("found", evidence="history"),)
    assert told(found, TimelineFacts(entries=entries, agent=True))["unmounted"]["source"] == "mountwarden.service"
    assert told(found, TimelineFacts(entries=entries))["unmounted"]["at"] is None, (
        "this look's `since` is not the service's"
    )


def test_a_container_starts_with_its_process() -> None:
    holder = Holder(7, "sh", container="deadbeef" * 8)
    above = (replace(CUT, point=b"/host"), TOP)
    found = explained(
        holders=(holder,), namespace_kind=NamespaceKind.CONTAINER, cause=Cause(cause.PRIVATE_BIND, "x"), seen_at=b"/x"
    )
    moments = told(found, TimelineFacts(process=START), Context(above, home=HOME))
    assert moments["started"]["text"] == "process 7 (sh) of container deadbeefdead started"
    assert (moments["started"]["at"], moments["mounted"]["before"]) == (timestamp(START), timestamp(START))
    assert (moments["cut"]["at"], "/host bound" in moments["cut"]["text"]) == (timestamp(START), True)


@pytest.mark.parametrize(
    ("kind", "moments"),
    [
        (Kind.SEVERED, ["mounted", "started", "cut", "found"]),
        (Kind.PRIVATE_ROOT, ["cut", "found"]),
        (Kind.PINNED, ["mounted", "started", "unmounted", "found"]),
        (Kind.STACKED, ["started", "found"]),
        (Kind.ORPHANED, ["mounted", "started", "unmounted", "found"]),
    ],
)
def test_each_kind_has_its_moments(kind: Kind, moments: list[str]) -> None:
    assert list(told(explained(kind=kind), TimelineFacts(BORN, START))) == moments


def test_a_storm_s_entry_tells_it_too() -> None:
    moments = told(
        explained(), TimelineFacts(entries=(entry("summary", summary_of="found", count="31", findings="mw-x"),))
    )
    assert moments["told"]["text"] == "one of 31 in one entry"


def test_a_journal_that_can_not_be_read_is_said() -> None:
    assert told(explained(), TimelineFacts(entries=None))["told"]["text"] == "the journal could not be read"


def test_a_long_history_is_cut_and_a_hostile_text_escaped() -> None:
    many = [entry("found", NOW + number) for number in range(50)]
    assert [moment["at"] for moment in timeline.journal(many)] == [timestamp(NOW + n) for n in range(30, 50)]
    (hostile,) = timeline.journal([{**entry("cleared"), "message": "a\x1b[2Jb\u202e"}])
    assert hostile["text"] == r"a\x1b[2Jb\xe2\x80\xae"


def test_the_chain_is_cut_at_the_holder() -> None:
    drawn = chain.chain(explained(), AROUND)
    assert drawn
    assert drawn["holder"]
    assert [(one["point"], one["cut"]) for one in drawn["home"]["levels"]] == [("/var/lib/docker", False)]
    assert drawn["home"]["mount"] is None
    assert [(one["point"], one["cut"]) for one in drawn["holder"]["levels"]] == [
        ("/", False),
        ("/var/lib/docker", True),
    ]
    assert drawn["holder"]["mount"] == "overlay 0:41, mount 812"
    assert (
        drawn["broken"]
        == "/var/lib/docker is private: it receives nothing from peer group 52 of /var/lib/docker on the host"
    )


@pytest.mark.parametrize(
    ("parent", "broken"),
    [
        ({"master": 52}, None),
        ({"shared": 52}, None),
        ({"master": 9}, "/var/lib/docker is a slave of peer group 9, and /var/lib/docker on the host is in 52"),
        ({"shared": 9}, "/var/lib/docker is in peer group 9, without a master: /var/lib/docker on the host is in 52"),
    ],
)
def test_where_umounts_stop(parent: dict[str, int], broken: str | None) -> None:
    drawn = chain.chain(explained(), replace(AROUND, above=(replace(CUT, **parent), TOP)))  # type: ignore[arg-type]
    assert drawn
    assert drawn["holder"]
    assert drawn["broken"] == broken
    assert drawn["holder"]["levels"][-1]["cut"] is (broken is not None)


def test_umounts_that_arrive_by_a_longer_chain_are_not_called_cut() -> None:
    around = replace(AROUND, above=(replace(CUT, master=9), TOP))
    drawn = chain.chain(explained(reach=Reach.PROPAGATION), around)
    assert drawn
    assert drawn["broken"] is None


def test_the_chain_is_cut_at_home() -> None:
    drawn = chain.chain(explained(kind=Kind.SEVERED), replace(AROUND, home=replace(HOME, shared=0)))
    assert drawn
    assert drawn["holder"]
    assert drawn["home"]["levels"][0]["cut"] is True
    assert not any(level["cut"] for level in drawn["holder"]["levels"])
    assert drawn["home"]["mount"] == "overlay, mounted"
    root = chain.private_root(explained(kind=Kind.PRIVATE_ROOT, mountpoint=b"/r"), replace(HOME, shared=0))
    assert root
    assert (root["holder"], root["broken"]) == (None, "/var/lib/docker is private on the host")


def test_what_was_not_seen_is_not_drawn() -> None:
    assert chain.chain(explained(), Context()) is None
    assert chain.chain(explained(kind=Kind.PINNED), AROUND) is None
    assert chain.private_root(explained(kind=Kind.PRIVATE_ROOT), None) is None
    drawn = chain.chain(explained(), replace(AROUND, above=()))
    assert drawn
    assert drawn["broken"] is None, "nothing is claimed of a parent that was not seen"


def test_a_deep_namespace_is_folded() -> None:
    above = tuple(mount(id=n, parent=n - 1, point=b"/%d" % n, shared=0) for n in range(60, 30, -1))
    drawn = chain.chain(explained(), replace(AROUND, above=above))
    assert drawn
    assert drawn["holder"]
    levels = [level["point"] for level in drawn["holder"]["levels"]]
    assert levels == ["/31", "/32", "/55", "/56", "/57", "/58", "/59", "/60"]


def test_who_else_is_in_the_sharing_group() -> None:
    line = b"36 35 8:1 / /x%d rw %s - ext4 /dev/sda1 rw\n"
    texts = (
        line % (1, b"shared:52 ") + line % (2, b"master:52 "),
        line % (3, b"master:52 propagate_from:5 "),
        line % (4, b"shared:520 master:5 "),
        line % (5, b""),
    )
    memberships = {group: [chain.membership(group, text.splitlines(True)) for text in texts] for group in (52, 5)}
    assert chain.sharing(52, memberships[52]) == {"id": 52, "peers": 1, "slaves": 1}
    assert chain.sharing(5, memberships[5]) == {"id": 5, "peers": 0, "slaves": 1}


def test_settings_have_their_file_and_line() -> None:
    flags, tmp = settings(AROUND)
    assert (flags["name"], flags["file"], flags["line"], flags["note"]) == ("MountFlags", FRAGMENT.decode(), 3, None)
    assert (tmp["value"], tmp["line"]) == ("yes", 2)


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"files": ()}, "no file of the unit sets it"),
        ({"unit": replace(UNIT, needs_reload=True)}, "its files have changed since systemd read them"),
        (
            {"files": (replace(FILE, path=b"/run/systemd/transient/leaky.service"),)},
            "set when it was started as a transient unit",
        ),
    ],
)
def test_settings_without_a_place_say_why(changes: dict[str, Any], note: str) -> None:
    flags, _tmp = settings(replace(AROUND, **changes))
    assert (flags["file"], flags["line"], flags["note"]) == (None, None, note)


def test_a_file_changed_later_is_said() -> None:
    flags, _tmp = settings(replace(AROUND, files=(replace(FILE, modified=START + 1),)))
    assert (flags["line"], flags["note"]) == (3, "the file was changed after the unit started")


def test_no_unit_no_settings() -> None:
    assert settings(Context()) == []
