"""A unit, a container and a process have one name each, whatever command tells of them."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from mountwarden import codec
from mountwarden.busy import mounts
from mountwarden.busy.answer import BusyReport as Kept
from mountwarden.busy.answer import BusyTarget, Keeper
from mountwarden.cli import doctor, history, outcomes, plan, predict, watch, who
from mountwarden.cli import map as map_command
from mountwarden.config.schema import Config
from mountwarden.doctor import roots
from mountwarden.explain import cause, naming
from mountwarden.explain.context import Context
from mountwarden.explain.lasting_fix import lasting_fix
from mountwarden.explain.members import Members
from mountwarden.ledger import update
from mountwarden.model import (
    MS_PRIVATE,
    Action,
    Directive,
    Event,
    EventKind,
    Finding,
    Holder,
    Kind,
    Namespace,
    NamespaceKind,
    Outcome,
    Picture,
    Severity,
    Tier,
    UnitFacts,
)
from mountwarden.mounts.exposure import Exposure, Relation
from mountwarden.mounts.graph import PlacedMount
from mountwarden.mounts.propagation import UmountResult
from mountwarden.mounts.roots import root_state
from mountwarden.output import explain_text, journal_messages, phrases, report_text
from mountwarden.output.map import dot, drawing, svg
from mountwarden.output.terminal import Terminal
from mountwarden.predict.next_leaks import NextLeak
from mountwarden.predict.occupants import Occupant
from mountwarden.predict.umount import Forecast as Umount
from mountwarden.predict.umount import Space
from mountwarden.remedies import restart_advice
from mountwarden.report import answers, chain, timeline, unit_settings
from mountwarden.report import build as report
from mountwarden.report import outcomes as outcomes_json
from mountwarden.report.map import MapFacts
from mountwarden.report.types import FindingJson
from mountwarden.service import status
from mountwarden.snapshot import file as snapshot_file
from mountwarden.systemd import journal, journal_reader

from tests.support.exposures import exposures
from tests.support.findings import changed
from tests.support.journal_entries import FROM_SERVICE
from tests.support.reports import NOW, facts, finding
from tests.unit.pictures import HOME, OTHER, ROOT, host_root, layer, mount
from tests.unit.pictures import table as mount_table

UNIT = r"my\x2dapp.service"
HOLDER = Holder(4711, "a\\x41\x1b", unit=UNIT)
USERS = Holder(4711, "a\\x41\x1b", unit="user@1000.service", user_unit=UNIT)
BOXED = Holder(4711, "a\\x41\x1b", unit=UNIT, container="a-machine\\x42\x1b")
COMM, CONTAINER = r"a\x5cx41\x1b", r"a-machine\x5cx42\x1b"
SCREEN = Terminal(10_000)


def texts(document: Any) -> Iterator[str]:
    """Every text of a JSON document."""
    if isinstance(document, str):
        yield document
    elif isinstance(document, dict):
        yield from texts(list(document.values()))
    elif isinstance(document, list | tuple):
        for one in document:
            yield from texts(one)


def held(one: Holder) -> Finding:
    """A leak in the hands of one holder, with its cause, and what ends a file that both hold open."""
    found = finding(holders=(one,), namespace_kind=kind_of(one))
    pinned = changed(found, kind=Kind.PINNED, holders=(one, Holder(4712, one.comm)))
    return replace(found, cause=cause.explain(found, around(found)), remedies=tuple(restart_advice.advice(pinned)))


def around(found: Finding) -> Context:
    top = mount(11, 10, "/", device="8:1")
    unit = UnitFacts(UNIT, started=NOW, mount_flags=MS_PRIVATE, directives=(Directive("MountFlags", "private"),))
    return Context((top,), None if found.holders[0].container else unit, home=host_root())


def keeper(one: Holder) -> Keeper:
    members = Members(NamespaceKind.SERVICE, (one,))
    needs, command = mounts._needs(Namespace(OTHER, (4711,)), members)
    return Keeper("mount", b"/m", needs, holders=(one,), command=command)


def kept(one: Holder) -> Kept:
    return Kept(BusyTarget("/m", "0:41"), (keeper(one),))


def umount(one: Holder) -> Umount:
    place = PlacedMount(OTHER, mount(70, 60, "/srv/data"))
    space = Space(Members(NamespaceKind.SERVICE, (one,)))
    return Umount(
        b"/srv/data",
        False,
        mount(7, 1, "/srv/data"),
        answer=UmountResult.BUSY,
        because=(Occupant("cwd", 7, one),),
        reached=(place,),
        spaces={OTHER: space},
    )


def foreseen(one: Holder) -> NextLeak:
    state = root_state(ROOT, mount_table(host_root(), layer(2, 1)), HOME)
    there = mount(11, 10, "/", device="8:1")
    sight = Exposure(OTHER, ROOT, state.bases[0], there, b"/var/lib/docker", b"", Relation.CUT_OFF, (there,), 2)
    found = held(one)
    fix = lasting_fix(found.cause, found, around(found)) if found.cause else None
    return NextLeak(OTHER, Members(kind_of(one), (one,)), (sight,), found.cause, str(fix) if fix else None)


def kind_of(one: Holder) -> NamespaceKind:
    return NamespaceKind.CONTAINER if one.container else NamespaceKind.SERVICE


def drawn(one: Holder) -> Any:
    home = mount_table(host_root(), layer(2, 1))
    state = root_state(ROOT, home, HOME)
    picture = Picture("boot", Tier.MOUNTINFO, (state,), {OTHER: None}, (), 2)  # type: ignore[dict-item]
    seen = exposures(picture, {HOME: home, OTHER: mount_table(mount(11, 10, "/", device="8:1"))})
    people = {OTHER: Members(kind_of(one), (one,))}
    return map_command.document(MapFacts(picture, (), seen, people), (), NOW)


def background(one: Holder) -> Any:
    found = held(one)
    about, known = around(found), timeline.TimelineFacts(process=1.0)
    set_by = unit_settings.settings(about)
    return [timeline.moments(found, about, set_by, known), chain.chain(found, about), set_by]


def told(one: Holder) -> Any:
    return report.build(facts([held(one)]))


def told_of(found: Finding) -> FindingJson:
    return report.build(facts([found]))["findings"][0]


def entry(one: Holder) -> dict[str, str]:
    fields = journal_messages.entry(Event(EventKind.FOUND, "key", NOW, subject=update.subject_of(held(one), NOW)))
    return {name: journal.clean(value) for name, value in fields}


def from_journal(one: Holder) -> dict[str, Any]:
    return journal_reader.entry({"__REALTIME_TIMESTAMP": "1000000", **FROM_SERVICE, **entry(one)})


def outcome(one: Holder) -> Outcome:
    return Outcome(held(one), Action.REJOIN, False, "x", "; ".join(remedy.reason for remedy in held(one).remedies))


def from_snapshot(one: Holder) -> Any:
    encoder = codec.Encoder(snapshot_file.FORMAT)
    row = encoder.encode(one)
    return report.holders([codec.Decoder(snapshot_file.FORMAT, encoder.shared).decode(Holder, row)])


def journalctl(one: Holder) -> bytes:
    return json.dumps({"__REALTIME_TIMESTAMP": "1000000", **FROM_SERVICE, **entry(one)}).encode()


DOCUMENTS: dict[str, Callable[[Holder], Any]] = {
    "report --json": told,
    "report": lambda one: report_text.render(told(one), report_text.View(SCREEN, NOW)),
    "report --npd": lambda one: phrases.one_line(told(one), 1, Severity.WARNING),
    "explain": lambda one: explain_text.render(
        explain_text.Explanation(told(one)["findings"][0], {}, NOW, told(one)["taken"]), SCREEN
    ),
    "explain's background": background,
    "plan --json": lambda one: answers.planned(held(one)),
    "plan": lambda one: plan.lines(answers.planned(held(one))),
    "acts --json": lambda one: outcomes_json.as_json(outcome(one), Config()),
    "acts": lambda one: outcomes.line(outcomes_json.as_json(outcome(one), Config()), SCREEN),
    "status's acts": lambda one: status.action(outcome(one), NOW),
    "who --json": lambda one: who.document(kept(one)),
    "who": lambda one: who.text(kept(one)),
    "predict --json": lambda one: predict.document(umount(one)),
    "predict": lambda one: predict.text(umount(one)),
    "doctor --json": lambda one: doctor._next_leak(foreseen(one)),
    "doctor": lambda one: [check.text for check in roots.cut_off([foreseen(one)])],
    "map --json": drawn,
    "map": lambda one: drawing.render(drawn(one), SCREEN),
    "map --dot": lambda one: dot.render(drawn(one)).replace("\\\\", "\\"),
    "map --svg": lambda one: svg.render(drawn(one)),
    "journal": entry,
    "watch": lambda one: [line.text for line in watch.journal_lines([journalctl(one)])],
    "history --json": from_journal,
    "history": lambda one: history.as_text(from_journal(one)),
    "snapshot": from_snapshot,
}


@pytest.mark.parametrize("document", DOCUMENTS)
@pytest.mark.parametrize("one", [HOLDER, USERS, BOXED], ids=["service", "a user's service", "container"])
def test_names_are_the_same_everywhere(document: str, one: Holder) -> None:
    words_of = "\n".join(texts(DOCUMENTS[document](one)))
    assert r"my\x5cx2d" not in words_of, "a unit is called what systemctl calls it"
    assert any(name in words_of for name in (UNIT, CONTAINER, COMM, "user@1000.service"))
    assert words_of.count("a-machine") == words_of.count(CONTAINER)
    assert "a\\x41" not in words_of
    assert "\x1b" not in words_of


IN_SCOPE = Holder(4711, "sh", unit="session-3.scope")
IN_DOCKER = Holder(4711, "sh", unit=f"docker-{'a' * 64}.scope", container="a" * 64)
IN_BOTH = Holder(4711, "sh", unit="web.service", container="a" * 64)
OF_USER = Holder(
    4711, "sh", unit="user@1000.service", user_unit=f"libpod-{'a' * 64}.scope", container="a" * 64, user=100_999
)
OF_ROOTLESS_DOCKER = replace(OF_USER, user_unit="docker.service")


@pytest.mark.parametrize(
    ("holders", "name"),
    [
        ((Holder(4711, "sh", unit="web.service"), Holder(4712, "sh", unit="web.service")), "web.service"),
        ((Holder(4711, "sh", unit="b.service"), Holder(4712, "sh", unit="a.service")), "b.service and 1 more"),
        ((IN_SCOPE, Holder(4712, "sh", unit="web.service")), "web.service"),
        ((IN_SCOPE,), "process 4711 (sh) of session-3.scope"),
        ((Holder(1, "sh"), IN_SCOPE), "process 4711 (sh) of session-3.scope and 1 more"),
        ((Holder(4711, "sh", unit="user.slice"),), "process 4711 (sh)"),
        ((IN_DOCKER,), "container aaaaaaaaaaaa"),
        ((IN_SCOPE, IN_BOTH), "container aaaaaaaaaaaa of web.service"),
        ((OF_USER,), "container aaaaaaaaaaaa of user 1000"),
        ((OF_ROOTLESS_DOCKER,), "container aaaaaaaaaaaa of user 1000"),
        ((), f"mount namespace {OTHER} (no process seen)"),
    ],
)
def test_a_holder_has_one_name(holders: tuple[Holder, ...], name: str) -> None:
    found = finding(holders=holders, namespace=OTHER)
    assert phrases.holder(told_of(found)) == name
    assert naming.name_of(holders, OTHER) == name
    single = name.removesuffix(" and 1 more")
    assert phrases.holder_of_subject(update.subject_of(found, NOW)) == single, "the journal names one holder"


def test_a_users_service_is_named_with_its_user() -> None:
    user = Holder(4711, "sh", unit="user@1000.service", user_unit="web.service")
    assert naming.name_of((user,), OTHER) == "web.service of user@1000.service"
    assert naming.process_in_full(user) == "process 4711 (sh, web.service, user@1000.service)"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_users_container_is_named_with_the_user_everywhere(document: str) -> None:
    """Else it would be looked for among root's containers, which do not have it."""
    for text in texts(DOCUMENTS[document](OF_USER)):
        for line in text.splitlines():
            after = [line[found.end() :] for found in re.finditer("container aaaaaaaaaaaa", line, re.IGNORECASE)]
            assert "user@1000.service" in line or all(rest.startswith(" of user 1000") for rest in after), line


def test_a_private_root_is_held_by_no_process() -> None:
    found = finding(kind=Kind.PRIVATE_ROOT, holders=(), namespace=HOME)
    name = phrases.holder_of_subject(update.subject_of(found, NOW))
    assert name == phrases.holder(told_of(found)) == "docker root /var/lib/docker"
