"""A snapshot is judged as the host was, on topologies made for real: the same report, to the letter."""

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mountwarden.cli import predict, snapshot
from mountwarden.explain import shared_causes
from mountwarden.kernel import abi, syscalls
from mountwarden.model import Gap, Kind
from mountwarden.observe import detached_users
from mountwarden.observe.enter import own_namespace
from mountwarden.predict import umount as foresee
from mountwarden.report import assemble
from mountwarden.report import build as report
from mountwarden.report.types import FindingJson, ReportJson
from mountwarden.scan import confirm
from mountwarden.scan.scanner import Scanner
from mountwarden.snapshot import all_mounts, anonymize, take
from mountwarden.snapshot import file as document
from mountwarden.snapshot.contents import SavedMounts, Snapshot

from tests.kernel.test_namespace_ids import by_statmount
from tests.kernel.topology import ROOT, Home
from tests.support.left_behind import engine as engine
from tests.support.scratch_ns import hold, overlay

MERGED = ROOT + b"/X/merged"
HOST = {"hostname": "myhost", "kernel": "6.18"}


def pair(
    home: Home, *steps: Callable[[], None], survey: SavedMounts | Gap | None = None
) -> tuple[ReportJson, Snapshot]:
    """The report of the last look, each step being after a look, and a snapshot of the same look."""
    scanner = Scanner(home.config, home=own_namespace())
    scanner.scan()
    for step in steps:
        step()
        scanner.scan()
    found = confirm.confirmed_scan(scanner, wait=0.2, everything=True)
    findings, gaps = shared_causes.explained(found.findings, found.seen.picture, everything=True)
    told = replace(assemble.facts(found.seen, findings, scanner.config, gaps=gaps), **HOST)  # type: ignore[arg-type]
    return report.build(told), take.take(
        found.seen, found.findings, scanner.config, paused=False, survey=survey, **HOST
    )


def reread(taken: Snapshot) -> ReportJson:
    """The report of the snapshot after it was a file."""
    return snapshot.report(document.parse(document.dumps(taken).encode()), everything=True)


def check(home: Home, *steps: Callable[[], None]) -> tuple[ReportJson, ReportJson, str]:
    """The report, the one judged from an anonymous snapshot, and the text of that; the plain one is compared here."""

    def both() -> tuple[ReportJson, ReportJson, ReportJson, str]:
        live, taken = pair(home, *steps)
        hidden = anonymize.anonymous(taken)
        return live, reread(taken), reread(hidden), document.dumps(hidden)

    live, plain, hidden, text = home.sandbox.run(both, timeout=50)
    assert plain == live
    assert live["findings"], "else nothing was shown"
    return live, hidden, text


def judged(finding: FindingJson) -> dict[str, object]:
    """What of a finding is no name."""
    kept = [
        "kind",
        "severity",
        "confirmed",
        "silenced",
        "count",
        "namespaces",
        "engine",
        "device",
        "evidence",
        "since",
    ]
    named = {key: finding[key] for key in (*kept, "since")}  # type: ignore[literal-required]
    return {
        **named,
        "copies": [
            (copy["namespace"], copy["mount_id"], copy["reach"], [(one["pid"], one["user"]) for one in copy["holders"]])
            for copy in finding["copies"]
        ],
        "cause": finding["cause"] and finding["cause"]["code"],
        "remedies": [(remedy["action"], remedy["automatic"]) for remedy in finding["remedies"]],
    }


def key(finding: dict[str, object]) -> str:
    return json.dumps(finding, sort_keys=True, default=str)


def assert_same_without_names(live: ReportJson, hidden: ReportJson, text: str) -> None:
    assert sorted(map(judged, hidden["findings"]), key=key) == sorted(map(judged, live["findings"]), key=key)
    assert hidden["summary"] == live["summary"]
    for name in ("myhost", live["host"]["boot_id"], "/X/", "root/X"):
        assert name not in text
    assert {f["id"] for f in live["findings"]}.isdisjoint(f["id"] for f in hidden["findings"])
    assert "overlay" in text
    assert "/merged" in text, "a layout's literal components stay"


def test_a_leak_that_history_proves(home: Home) -> None:
    home.layer()
    with hold(home.sandbox, propagation="private"):
        live, hidden, text = check(home, lambda: syscalls.umount(MERGED))
    assert [(f["kind"], f["evidence"], f["confirmed"]) for f in live["findings"]] == [("leaked", "history", False)]
    assert_same_without_names(live, hidden, text)


def test_copies_that_are_cut_off_and_a_private_root(home: Home) -> None:
    home.layer()
    home.layer(b"Y")
    home.run(lambda: syscalls.mount(None, b"/mnt", None, abi.MS_PRIVATE))
    with hold(home.sandbox, propagation="private"), hold(home.sandbox, propagation="slave"):
        live, hidden, text = check(home)
    assert {f["kind"] for f in live["findings"]} == {"severed", "private-root"}
    assert all(copy["namespace"]["id"] for f in live["findings"] for copy in f["copies"]) == (
        home.run(by_statmount) is not None
    )
    assert_same_without_names(live, hidden, text)


def test_an_overlay_whose_upper_directory_is_mounted_again(home: Home) -> None:
    home.layer()
    with hold(home.sandbox, propagation="private"):

        def again() -> None:
            syscalls.umount(MERGED)
            overlay(ROOT + b"/X")

        live, hidden, text = check(home, again)
    assert "critical" in {f["severity"] for f in live["findings"]}
    assert_same_without_names(live, hidden, text)


@pytest.mark.usefixtures("engine")
def test_what_nobody_owns(home: Home) -> None:
    home.layer()
    live, hidden, text = check(home)
    assert [(f["kind"], f["left_behind"], f["frees"]) for f in live["findings"]] == [("abandoned", "task", "layer X")]
    assert_same_without_names(live, hidden, text)
    assert "knows nothing of" not in text


def test_a_stack_and_what_processes_hold_open(home: Home) -> None:
    layer = home.layer()
    home.layer(b"Y")
    other = ROOT + b"/Y/merged"
    with hold(home.sandbox, propagation="slave", cwd=MERGED):

        def multiply() -> None:
            detached_users.PERIOD = 0.0
            syscalls.umount(layer.merged, abi.MNT_DETACH)
            for _ in range(3):
                syscalls.mount(other, other, None, abi.MS_BIND)

        live, hidden, text = check(home, multiply)
    assert {f["kind"] for f in live["findings"]} >= {Kind.STACKED, Kind.PINNED}
    assert_same_without_names(live, hidden, text)


def test_what_may_be_a_secret_is_not_in_the_file(home: Home) -> None:
    home.layer()

    def hostile() -> str:
        os.makedirs("/mnt/root/Z/merged")
        syscalls.mount(b"//server/share", b"/mnt/root/Z/merged", b"tmpfs", 0, b"size=64k")
        _live, taken = pair(home)
        return document.dumps(taken)

    with hold(home.sandbox, propagation="private"):
        text = home.sandbox.run(hostile, timeout=50)
    assert "server" not in text
    environment = {name for name in os.environ.values() if re.fullmatch(r"[\w./:-]{12,}", name)}
    assert [value for value in environment if value in text] == []


def test_the_file_is_the_owners_alone_and_never_replaced_unasked(tmp_path: Path, home: Home) -> None:
    home.layer()
    with hold(home.sandbox, propagation="private"):
        _live, taken = home.sandbox.run(lambda: pair(home), timeout=50)
    file = tmp_path / "host.json"
    document.write(str(file), taken)
    assert file.stat().st_mode & 0o7777 == 0o600
    before = file.read_bytes()
    with pytest.raises(Exception, match="is there already"):
        document.write(str(file), replace(taken, hostname="other"))
    assert file.read_bytes() == before
    document.write(str(file), replace(taken, hostname="other"), force=True)
    assert document.read(str(file)).hostname == "other"
    assert os.listdir(tmp_path) == ["host.json"], "no temporary file is left"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("lazy", [False, pytest.param(True, marks=pytest.mark.long)], ids=["plain", "lazy"])
def test_a_prediction_from_the_file_is_the_host_s(home: Home, lazy: bool) -> None:
    home.layer()
    with hold(home.sandbox, propagation="private"), hold(home.sandbox, propagation="slave", cwd=MERGED) as busy:

        def both() -> tuple[list[dict[str, Any]], str]:
            taken = pair(home, survey=all_mounts.take())[1]
            assert taken.survey is not None
            there = all_mounts.seen(document.parse(document.dumps(taken).encode()))
            hidden = anonymize.anonymous(taken, b"salt")
            assert hidden.survey is not None
            (point,) = (m.point for m in hidden.survey.tables[there.own] if m.point.endswith(b"/merged"))
            told = [
                foresee.umount(MERGED, lazy=lazy),
                foresee.answer(MERGED, there, lazy=lazy, inode=there.own),
                foresee.answer(point, all_mounts.seen(hidden), lazy=lazy, inode=there.own),
            ]
            return [predict.document(one) for one in told], document.dumps(hidden)

        pid = busy.pid
        (here, plain, other), text = home.sandbox.run(both, timeout=100)
    for told in (here, plain):
        del told["gaps"], told["complete"]  # of this machine's other processes, a moment apart
        for space in told["namespaces"]:
            space["cause"] = None  # which asks the host
    assert plain == here
    assert here["answer"] == ("ok" if lazy else "busy")
    assert lazy or [holder["pid"] for holder in here["because"]] == [pid]
    for key in ("answer", "locks_inferred"):
        assert other[key] == here[key]
    for key in ("reached", "left"):
        assert [place["mount_id"] for place in other[key]] == [place["mount_id"] for place in here[key]]
    assert "root/X" not in text
