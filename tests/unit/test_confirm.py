"""Two scans: what is confirmed, since when, and for how long the command line waits."""

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from mountwarden.cli import service_report
from mountwarden.config.schema import Config, Confirm, Mode, PolicyEntry, Silence
from mountwarden.model import Action, Evidence, Finding, MountClass, Policy, RootKind, Severity, Tier
from mountwarden.output import report_file
from mountwarden.report import assemble as facts_of
from mountwarden.report import build as report
from mountwarden.scan import confirm
from mountwarden.scan.result import Scan
from mountwarden.scan.scanner import Scanner

from tests.support.findings import changed, spread
from tests.support.reports import DOCKER, NOW, facts, finding

CONFIG = Config(confirm=Confirm(layer=0.01, volume=0.02))
FRESH = finding(confirmed=False, since=None)


class Script:
    """Scans that are given, one after the other: the kernel's part is tested elsewhere."""

    def __init__(self, *scans: Sequence[Finding], config: Config = CONFIG) -> None:
        self.config = config
        self.scans = [_scan(findings, NOW + at) for at, findings in enumerate(scans)]

    def scan(self, *, resync: bool = False) -> Scan:
        """The next one."""
        return self.scans.pop(0)


def _scan(findings: Sequence[Finding], started: float) -> Scan:
    return Scan(facts([]).picture, tuple(findings), (), started, 0.01, Tier.MOUNTINFO, "")


def run(script: Script, **changes: Any) -> tuple[Finding, ...]:
    found = confirm.confirmed_scan(cast("Scanner", script), **{"wait": 5.0, **changes})
    assert script.scans == [], "every scan was taken"
    return found.findings


def test_what_both_scans_show_is_confirmed() -> None:
    (found,) = run(Script([FRESH], [FRESH]))
    assert (found.confirmed, found.since) == (True, NOW)


def test_what_only_the_second_scan_shows_is_not() -> None:
    other = finding(id="mw-0000000001", confirmed=False)
    found = run(Script([FRESH], [FRESH, other]))
    assert [(one.id[-1], one.confirmed, one.since) for one in found] == [("9", True, NOW), ("1", False, NOW + 1)]


def test_what_is_not_confirmed_says_when_it_will_be() -> None:
    netns = finding(mount_class=MountClass.NETNS, confirmed=False)
    (found,) = run(Script([netns]))
    assert (found.confirmed, found.due) == (False, NOW + 90)
    (found,) = run(Script([FRESH], [FRESH]))
    assert (found.confirmed, found.due) == (True, None)


def test_one_of_several_mounts_that_stays_is_enough() -> None:
    (found,) = run(Script([spread(FRESH, 1, 2, 3)], [spread(FRESH, 3, 4)]))
    assert (found.confirmed, found.since) == (True, NOW)
    (found,) = run(Script([spread(FRESH, 1, 2)], [spread(FRESH, 3, 4)]))
    assert (found.confirmed, found.since) == (False, NOW + 1)


def test_what_the_second_scan_lacks_was_an_engine_amid_unmounting() -> None:
    assert run(Script([FRESH], [])) == ()


def test_another_mount_on_the_spot_starts_anew() -> None:
    (found,) = run(Script([FRESH], [changed(FRESH, unique_id=99)]))
    assert (found.confirmed, found.since) == (False, NOW + 1)


def test_without_candidates_there_is_one_scan() -> None:
    assert run(Script([])) == ()


def test_no_wait_confirms_nothing() -> None:
    (found,) = run(Script([FRESH]), wait=0.0)
    assert not found.confirmed


def test_info_is_waited_for_only_on_demand() -> None:
    info = replace(FRESH, severity=Severity.INFO)
    assert [one.confirmed for one in run(Script([info]))] == [False]
    assert [one.confirmed for one in run(Script([info], [info]), everything=True)] == [True]


def test_what_the_agent_knows_needs_no_wait() -> None:
    (found,) = run(
        Script([FRESH]), known=lambda one: confirm.KnownBefore(NOW - 500, True) if one.id == FRESH.id else None
    )
    assert (found.confirmed, found.since) == (True, NOW - 500)


def test_the_wait_is_the_slowest_that_is_allowed() -> None:
    volume = finding(id="mw-0000000001", mount_class=MountClass.VOLUME, confirmed=False)
    netns = finding(id="mw-0000000002", mount_class=MountClass.NETNS, confirmed=False)
    waited: list[float] = []
    found = run(Script([FRESH, volume, netns], [FRESH, volume, netns]), waiting=waited.append)
    assert waited == [0.02]
    assert [one.confirmed for one in found] == [True, True, False], "90 s are not waited for"


def test_what_the_agent_has_seen_counts_for_a_scan_of_now(tmp_path: Path) -> None:
    mine = finding(evidence=Evidence.HISTORY, mount_id=77)
    document = report.build(facts([mine], agent=(os.getpid(), 60.0), taken=time.time()))
    path = str(tmp_path / "report.json")
    report_file.write(document, path)
    agent = service_report.read(document["host"]["boot_id"], path)
    assert agent.since() == {mine.id: mine.since}
    assert agent.mode is Mode.ACT
    scanned = [replace(mine, evidence=Evidence.SPOT), changed(mine, evidence=Evidence.SPOT, mount_id=78)]
    assert [one.evidence for one in agent.as_known(scanned)] == [Evidence.HISTORY, Evidence.SPOT]
    none = service_report.read("another boot", path)
    assert (none.since(), none.mode, none.as_known(scanned)) == ({}, None, tuple(scanned))


def test_what_its_own_options_alone_name_is_as_bad_as_the_agent_has_seen_it() -> None:
    seen = finding(evidence=Evidence.HISTORY, detail="the copy is bound on a directory that is not the mountpoint")
    agent = service_report.ServiceReport(report.build(facts([seen])))
    claimed = replace(seen, evidence=Evidence.CLAIMED, severity=Severity.INFO, detail="suspected")
    assert agent.as_known([claimed]) == (seen,)
    worse = replace(seen, evidence=Evidence.SPOT, severity=Severity.CRITICAL, detail="mounted again at home")
    assert agent.as_known([worse]) == (replace(worse, evidence=Evidence.HISTORY),), "the scan is newer"
    both = service_report.ServiceReport(report.build(facts([claimed])))
    assert both.as_known([claimed]) == (claimed,)


def test_silences_are_marked() -> None:
    config = replace(CONFIG, silences=(Silence("known", id=FRESH.id),))
    assert [one.silenced for one in run(Script([FRESH], [FRESH], config=config))] == [True]


@pytest.mark.parametrize(
    ("root", "config", "share", "detach"),
    [
        (DOCKER, Config(), Policy.AUTO, Policy.AUTO),
        (replace(DOCKER, engine="containers-storage", wants_private=True), Config(), Policy.ASK, Policy.ASK),
        (replace(DOCKER, home_known=False), Config(), Policy.ASK, Policy.ASK),
        (DOCKER, Config(policies=(PolicyEntry(Action.DETACH, Policy.OFF),)), Policy.AUTO, Policy.OFF),
        (replace(DOCKER, kind=RootKind.VOLUME), Config(), Policy.AUTO, Policy.ASK),
    ],
)
def test_the_policies_of_a_root(root: Any, config: Config, share: Policy, detach: Policy) -> None:
    assert facts_of.policies(root, config) == {Action.SHARE: share, Action.DETACH: detach}
