"""Who asks the service's socket is answered when, and by what."""

import json
import os
import select
import stat
from dataclasses import replace
from typing import Any

import pytest
from mountwarden.ledger import update
from mountwarden.model import Event, EventKind, Severity
from mountwarden.output.metrics import METRICS
from mountwarden.service.answers import watchers
from mountwarden.service.answers.watchers import Watchers
from mountwarden.service.clients import Clients
from mountwarden.service.results import Results

from tests.support.client_scene import CONFIRMED, Scene, scene
from tests.support.findings import finding

__all__ = ["scene"]


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
