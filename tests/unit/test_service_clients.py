"""The service's socket with the loop's part played by the test: who is answered when, and by what."""

import contextlib
import io
import json
import os
import select
import socket
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from mountwarden.kernel import child
from mountwarden.ledger import update
from mountwarden.ledger.update import Ledger
from mountwarden.model import Action, Event, EventKind, Finding, Outcome, Picture, Severity, Tier
from mountwarden.output.metrics import METRICS
from mountwarden.scan.result import Scan
from mountwarden.service.answers import acting, watchers
from mountwarden.service.answers.watchers import Watchers
from mountwarden.service.clients import Clients
from mountwarden.service.outbox import Outbox
from mountwarden.service.publish import Publisher
from mountwarden.service.reporter import Reporter
from mountwarden.service.results import Results
from mountwarden.state.run_directory import RunDirectory
from mountwarden.systemd.journal import Entry, Journal
from mountwarden.varlink import wire
from mountwarden.varlink.connection import Peer

from tests.support.findings import CONFIG, finding
from tests.support.wait import wait_until

OWN = "io.mountwarden"


class Noted(Journal):
    def __init__(self) -> None:
        super().__init__(stderr=io.StringIO())
        self.entries: list[dict[str, str]] = []

    def send(self, entry: Entry) -> bool:
        self.entries.append(dict(entry))
        return True


class Stub:
    """systemd and the triggers, of which a publisher says something."""

    has_inotify = has_unit_signals = True


@dataclass
class Scene:
    """The clients of a service, whose scans and acts are the test's."""

    path: Path
    journal: Noted = field(default_factory=Noted)
    lazy: list[bool] = field(default_factory=list)
    also_unread: list[frozenset[int]] = field(default_factory=list)
    acted: list[tuple[list[str], Action, str | None]] = field(default_factory=list)
    error: Exception | None = None
    in_one_batch: bool = False
    peers: list[socket.socket] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.run = RunDirectory(self.path / "run")
        self.run.path.mkdir()
        heard = Watchers()
        self.reporter = Reporter(
            Outbox(self.run, self.journal, heard.hear), lambda found, _picture: (tuple(found), ()), "b"
        )
        self.publisher = Publisher(self.run, Stub(), Stub())  # type: ignore[arg-type]
        self.clients = Clients(self.run, self.carry_out, heard, registry=self.path / "varlink/registry")
        self.polled = self.clients.open(self.publisher, self.reporter)

    def carry_out(
        self,
        findings: Sequence[Finding],
        action: Action,
        go_on: Callable[[], bool],
        unit: str | None,
        lazy: bool,
        also_unread: frozenset[int],
    ) -> Iterable[Outcome]:
        self.acted.append(([one.id for one in findings], action, unit))
        self.lazy.append(lazy)
        self.also_unread.append(also_unread)
        if self.error:
            raise self.error
        for one in findings:
            if (self.in_one_batch and one is not findings[0]) or go_on():
                again = replace(one, confirmed=False)  # as the scan right before the act has it
                yield Outcome(again, action, True, "done", "text", "saw", "did", "verified")

    def scanned(self, *findings: Finding, taken: float = 1e9) -> bool:
        picture = Picture("boot", Tier.MOUNTINFO, (), {}, (), 0)
        scan = Scan(picture, findings, (), taken, 0.001, Tier.MOUNTINFO, "why")
        done = self.clients.scanned(Results(scan, findings, CONFIG, Ledger("b"), None, None, 0.0, ()))
        self.clients.serve()
        return done

    def call(self, method: str, parameters: dict[str, object] | None = None, *, more: bool = False) -> socket.socket:
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(str(self.run.socket))
        peer.sendall(wire.call(method if "." in method[3:] else f"{OWN}.{method}", parameters, more=more))
        self.peers.append(peer)
        for _turn in range(3):
            self.clients.serve()
        return peer

    def replies(self, peer: socket.socket) -> list[dict[str, Any]]:
        """What came by now."""
        self.clients.serve()
        peer.setblocking(False)
        data = b""
        with contextlib.suppress(BlockingIOError):
            while part := peer.recv(1 << 20):
                data += part
        return [json.loads(one) for one in data.split(b"\0") if one]

    def awaited(self, peer: socket.socket) -> list[dict[str, Any]]:
        """What came, once something did, from a child."""
        return wait_until(lambda: self.replies(peer), 10, "a reply")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    one = Scene(tmp_path)
    yield one
    one.clients.close()
    for peer in one.peers:
        peer.close()
    wait_until(lambda: child.reap_late() == 0, 5, "the children are gone")


@pytest.fixture
def as_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Peer, "of", classmethod(lambda _cls, _socket: Peer(os.getpid(), 1000, 1000)))


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Peer, "of", classmethod(lambda _cls, _socket: Peer(os.getpid(), 0, 0)))


CONFIRMED = replace(finding(1), confirmed=True, since=1e9)


def taken(reply: dict[str, Any]) -> str:
    return str(reply["parameters"]["report"]["taken"])


def test_the_socket_is_for_root_and_the_journals_readers_and_registered(scene: Scene) -> None:
    facts = scene.run.socket.stat()
    assert stat.S_IMODE(facts.st_mode) == 0o660
    link = scene.path / "varlink/registry/io.mountwarden"
    assert os.readlink(link) == str(scene.run.socket)
    assert stat.S_IMODE(link.parent.stat().st_mode) == 0o755
    scene.clients.close()
    assert not scene.run.socket.exists()
    assert not link.is_symlink()


def test_a_socket_of_a_successor_stays(scene: Scene) -> None:
    again = Clients(scene.run, scene.carry_out, Watchers(), registry=scene.path / "varlink/registry")
    again.open(scene.publisher, scene.reporter)
    scene.clients.close()
    assert scene.run.socket.is_socket()
    assert (scene.path / "varlink/registry/io.mountwarden").is_symlink()
    again.close()


def test_all_who_ask_for_a_report_get_that_of_one_scan(scene: Scene) -> None:
    scene.scanned()
    assert taken(scene.replies(scene.call("Report", {"scan": False}))[0]) == "2001-09-09T01:46:40.000Z"
    asked = [scene.call("Report"), scene.call("Report", {"scan": True}), scene.call("Report")]
    assert scene.clients.wants_scan
    assert [scene.replies(peer) for peer in asked] == [[], [], []]
    scene.scanned(CONFIRMED, taken=2e9)
    assert not scene.clients.wants_scan
    found = [scene.replies(peer)[0] for peer in asked]
    assert [taken(one) for one in found] == ["2033-05-18T03:33:20.000Z"] * 3
    assert found[0]["parameters"]["report"]["findings"][0]["id"] == CONFIRMED.id


def test_of_those_who_wait_for_a_scan_root_is_known(scene: Scene) -> None:
    assert not scene.clients.of_root
    scene.call("Report", {"scan": False})
    assert not scene.clients.of_root, "it waits for the first scan, as all do"
    scene.scanned()
    scene.call("Report")
    assert scene.clients.of_root == (os.getuid() == 0)
    scene.scanned()
    assert not scene.clients.of_root


def test_where_no_scan_comes_the_last_one_is_the_answer(scene: Scene) -> None:
    peer = scene.call("Report")
    scene.clients.no_scan()
    assert scene.replies(peer) == [], "there is none yet"
    scene.scanned()
    assert taken(scene.replies(peer)[0]) == "2001-09-09T01:46:40.000Z"
    other = scene.call("Report")
    scene.clients.no_scan()
    assert taken(scene.replies(other)[0]) == "2001-09-09T01:46:40.000Z"


def test_a_long_answer_without_a_scan_goes_on_as_soon_as_it_is_taken(scene: Scene) -> None:
    scene.scanned(*(finding(number) for number in range(1500)))
    peer = scene.call("Report")
    scene.clients.no_scan()
    data, ready = b"", select.poll()
    ready.register(scene.polled, select.POLLIN)
    while True:
        data += peer.recv(1 << 20)
        if data.endswith(b"\0"):
            break
        assert ready.poll(1000), "the loop sleeps until something else happens"
        scene.clients.serve()
    assert len(json.loads(data[:-1])["parameters"]["report"]["findings"]) == 1500


def test_without_a_scan_the_last_one_is_the_answer_at_once_and_asks_for_none(scene: Scene) -> None:
    early = scene.call("Report", {"scan": False})
    assert not scene.clients.wants_scan
    scene.scanned()
    assert [len(scene.replies(peer)) for peer in (early, scene.call("Report", {"scan": False}))] == [1, 1]


def test_a_scan_that_fails_is_said(scene: Scene) -> None:
    asked = [scene.call("Report"), scene.call("Status")]
    scene.clients.failed("no processes")
    assert [scene.replies(peer)[0]["error"] for peer in asked] == ["io.mountwarden.Failed"] * 2


def test_status_and_metrics_are_those_of_the_files(scene: Scene) -> None:
    scene.scanned(CONFIRMED)
    (status,) = scene.replies(scene.call("Status"))
    assert status["parameters"]["status"]["schema"] == "mountwarden.status/1"
    values = scene.replies(scene.call("io.systemd.Metrics.List", more=True))
    families = scene.replies(scene.call("io.systemd.Metrics.Describe", more=True))
    assert len(families) == len(METRICS)
    assert {one["parameters"]["name"] for one in values} <= {one["parameters"]["name"] for one in families}
    assert [one.get("continues") for one in values[-2:]] == [True, None]
    (roots,) = (one["parameters"] for one in values if one["parameters"]["name"] == "io.mountwarden.Roots")
    assert roots == {"name": "io.mountwarden.Roots", "value": 0}


def test_plan_is_of_what_is_named_else_of_what_is_not_info(scene: Scene) -> None:
    info = replace(finding(2), severity=Severity.INFO)
    scene.scanned(CONFIRMED, info)

    def planned(**parameters: object) -> Any:
        return [one["id"] for one in scene.replies(scene.call("Plan", parameters))[0]["parameters"]["plan"]]

    assert planned() == [CONFIRMED.id]
    assert planned(ids=[info.id]) == [info.id]
    assert planned(ids=[]) == []
    (error,) = scene.replies(scene.call("Plan", {"ids": ["mw-f"]}))
    assert (error["error"], error["parameters"]["id"]) == ("io.mountwarden.NoSuchFinding", "mw-f")


def test_explain_takes_the_beginning_of_an_id_that_is_unique(scene: Scene) -> None:
    scene.scanned(CONFIRMED, finding(2))
    for wrong, hint in (("mw-", None), ("mw-000000000", "2 ids begin so"), ("mw-0000000003x", "did you mean")):
        (error,) = scene.awaited(scene.call("Explain", {"id": wrong}))
        assert error["error"] == "io.mountwarden.NoSuchFinding"
        assert (error["parameters"]["hint"] or "").startswith(hint or "")
    (explained,) = scene.awaited(scene.call("Explain", {"id": CONFIRMED.id}))
    found = explained["parameters"]["explanation"]
    assert (found["id"], "steps" in found, "background" in found) == (CONFIRMED.id, True, True)


def test_watch_tells_the_last_events_and_then_each(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    older = [
        {"at": "2001-09-09T01:46:40.000Z", "event": "found", "finding": "mw-1", "message": "old\x1b", "event_id": "k1"},
        {"at": "2001-09-09T01:46:41.000Z", "event": "started", "message": "mode act", "event_id": "again"},
    ]
    monkeypatch.setattr(watchers.journal_reader, "last_of_service", lambda _count, deadline: older)
    scene.reporter.ledger = update.note(scene.reporter.ledger, Event(EventKind.STARTED, "again", 1e9, "mode act"))
    scene.reporter.report()
    peer = scene.call("Watch", more=True)
    told = scene.awaited(peer)
    told += scene.replies(peer)
    assert [(one["parameters"]["event"]["text"], one["continues"]) for one in told] == [
        ("old\\x1b", True),
        ("mode act", True),
    ]
    scene.reporter.note(EventKind.PAUSED, "a test", ("UNTIL", "-"))
    scene.reporter.report()
    (live,) = scene.replies(peer)
    assert {**live["parameters"]["event"], "at": ""} == {
        "at": "",
        "event": "paused",
        "finding": None,
        "text": "paused, no action is taken: a test",
    }
    assert len(scene.replies(scene.call("Watch", more=True))) == 3, "the journal is read once"


def test_what_goes_wrong_in_one_answer_is_that_answer(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_results: Results) -> Any:
        raise ZeroDivisionError("x")

    scene.scanned()
    monkeypatch.setattr(scene.publisher, "report", broken)
    assert scene.replies(scene.call("Status"))[0]["parameters"] == {"text": "ZeroDivisionError: x"}
    assert "parameters" in scene.replies(scene.call("org.varlink.service.GetInfo"))[0]


# Act ---------------------------------------------------------------------------------------------------------------


ACT: dict[str, object] = {"action": "detach", "ids": [CONFIRMED.id]}


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("call", [("Act", ACT, False), ("Act", ACT | {"dryRun": True}, True), ("Snapshot", {}, True)])
def test_only_root_acts_and_takes_snapshots(scene: Scene, call: tuple[str, dict[str, object], bool]) -> None:
    scene.scanned(CONFIRMED)
    (error,) = scene.replies(scene.call(call[0], call[1], more=call[2]))
    assert error["error"] == "io.mountwarden.NotAllowed"
    assert not scene.clients.needs_scan
    assert not scene.scanned(CONFIRMED)
    assert scene.acted == []


@pytest.mark.usefixtures("as_root")
def test_an_act_is_done_after_a_scan_and_in_the_journal(scene: Scene) -> None:
    scene.scanned(CONFIRMED)
    peer = scene.call("Act", ACT | {"ids": [CONFIRMED.id, "mw-0000000009", CONFIRMED.id], "unit": "a.service"})
    assert scene.clients.needs_scan
    assert (scene.acted, scene.replies(peer)) == ([], [])
    assert scene.scanned(CONFIRMED)
    assert not scene.clients.needs_scan
    assert scene.acted == [([CONFIRMED.id], Action.DETACH, "a.service")]
    (reply,) = scene.replies(peer)
    assert [(one["finding_id"], one["code"]) for one in reply["parameters"]["outcomes"]] == [
        ("mw-0000000009", "no-such-finding"),
        (CONFIRMED.id, "done"),
    ]
    (entry,) = scene.journal.entries
    assert entry["MOUNTWARDEN_BY"] == f"uid 0, pid {os.getpid()} ({Path('/proc/self/comm').read_text().strip()})"
    assert (entry["MOUNTWARDEN_EVENT"], entry["MOUNTWARDEN_DID"]) == ("acted", "did")


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("lazy", [True, False, None])
def test_an_umount_is_lazy_only_where_that_is_said(scene: Scene, lazy: bool | None) -> None:
    scene.call("Act", {"action": "unmount", "ids": [CONFIRMED.id], "lazy": lazy})
    scene.scanned(CONFIRMED)
    assert scene.lazy == [bool(lazy)]


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("named", [[4026532001, 4026532002], [], None])
def test_what_an_operator_overrules_is_handed_on_and_in_the_journal(scene: Scene, named: list[int] | None) -> None:
    scene.call("Act", ACT | {"also_unread": named})
    scene.scanned(CONFIRMED)
    assert scene.also_unread == [frozenset(named or ())]
    (entry,) = scene.journal.entries
    assert entry.get("MOUNTWARDEN_ALSO_UNREAD") == ("4026532001 4026532002" if named else None)


@pytest.mark.usefixtures("as_root")
def test_with_more_each_outcome_is_a_reply(scene: Scene) -> None:
    other = replace(finding(2), confirmed=True, since=1e9)
    peer = scene.call("Act", ACT | {"ids": [CONFIRMED.id, other.id]}, more=True)
    scene.scanned(CONFIRMED, other)
    replies = scene.replies(peer)
    assert [len(one["parameters"]["outcomes"]) for one in replies] == [1, 1, 0]
    assert [one.get("continues") for one in replies] == [True, True, None]


@pytest.mark.usefixtures("as_root")
def test_the_ledger_is_saved_for_many_outcomes_at_once_and_none_is_answered_before_the_journal_has_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [replace(finding(number), confirmed=True, since=1e9) for number in range(1000)]
    saved: list[int] = []
    save, reply = Outbox.save, wire.reply

    def counted(outbox: Outbox, ledger: Ledger) -> bool:
        saved.append(len(ledger.pending))
        return save(outbox, ledger)

    def replied(parameters: bytes, *, continues: bool = False) -> bytes:
        for one in json.loads(parameters)["outcomes"]:
            assert one["finding_id"] in {entry["MOUNTWARDEN_FINDING"] for entry in scene.journal.entries}
        return reply(parameters, continues=continues)

    monkeypatch.setattr(Outbox, "save", counted)
    monkeypatch.setattr(wire, "reply", replied)
    scene.in_one_batch = True
    peer = scene.call("Act", ACT | {"ids": [one.id for one in many]}, more=True)
    scene.scanned(*many)
    told: list[str] = []
    while len(told) < 1000:
        some = [one["parameters"]["outcomes"] for one in scene.replies(peer)]
        assert some, "a peer that takes them all loses none"
        told += [one["finding_id"] for outcomes in some for one in outcomes]
    assert (told, len(scene.journal.entries)) == ([one.id for one in many], 1000)
    assert len(saved) <= 4, "each save is of all that is remembered"


@pytest.mark.usefixtures("as_root")
def test_a_dry_run_says_the_steps_and_does_nothing(scene: Scene) -> None:
    peer = scene.call("Act", ACT | {"dryRun": True})
    assert not scene.scanned(CONFIRMED)
    (outcome,) = scene.replies(peer)[0]["parameters"]["outcomes"]
    assert (outcome["done"], outcome["code"], "steps" in outcome) == (False, "dry-run", True)
    assert (scene.acted, scene.journal.entries) == ([], [])


@pytest.mark.usefixtures("as_root")
def test_what_is_not_confirmed_is_waited_for_and_then_refused(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acting, "WAIT", 0.2)
    new = finding(1)
    held, refused = scene.call("Act", ACT), None
    scene.scanned(new)
    assert not scene.clients.needs_scan, "the next scan is due anyhow"
    assert (scene.acted, scene.replies(held)) == ([], [])
    scene.scanned(CONFIRMED)
    assert scene.replies(held)[0]["parameters"]["outcomes"][0]["code"] == "done"
    refused = scene.call("Act", ACT)
    scene.scanned(new)
    time.sleep(0.25)
    scene.scanned(new)
    assert scene.replies(refused)[0]["parameters"]["outcomes"][0]["code"] == "unconfirmed"
    assert scene.acted[1:] == [([], Action.DETACH, None)]


@pytest.mark.usefixtures("as_root")
def test_nothing_is_done_for_who_is_gone(scene: Scene) -> None:
    scene.call("Act", ACT).close()
    scene.clients.serve()
    scene.scanned(CONFIRMED)
    assert scene.acted == []


@pytest.mark.usefixtures("as_root")
def test_what_is_not_reached_in_time_is_said(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acting, "SECONDS", -1.0)
    peer = scene.call("Act", ACT)
    scene.scanned(CONFIRMED)
    assert scene.replies(peer)[0]["parameters"]["outcomes"][0]["code"] == "not-reached"


@pytest.mark.usefixtures("as_root")
def test_an_act_that_breaks_is_answered_and_left_to_the_loop(scene: Scene) -> None:
    scene.error = ZeroDivisionError("x")
    peer = scene.call("Act", ACT)
    with pytest.raises(ZeroDivisionError):
        scene.scanned(CONFIRMED)
    assert scene.replies(peer)[0]["parameters"] == {"text": "ZeroDivisionError: x"}
    assert not scene.clients.needs_scan
