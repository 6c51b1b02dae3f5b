"""Who asks the service to act: for whom it is done, after which scan, and how that is answered."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from mountwarden.ledger.update import Ledger
from mountwarden.model import Action
from mountwarden.service.answers import acting
from mountwarden.service.outbox import Outbox
from mountwarden.varlink import wire
from mountwarden.varlink.connection import Peer

from tests.support.client_scene import CONFIRMED, Scene, scene
from tests.support.findings import finding

__all__ = ["scene"]


@pytest.fixture
def as_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Peer, "of", classmethod(lambda _cls, _socket: Peer(os.getpid(), 1000, 1000)))


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Peer, "of", classmethod(lambda _cls, _socket: Peer(os.getpid(), 0, 0)))


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
