"""Clocks that are set, and a host that was suspended: nothing is confirmed, ended or begun by that."""

import itertools
import time
from dataclasses import replace
from pathlib import Path

import pytest
from mountwarden.config.schema import Silence
from mountwarden.ledger import update
from mountwarden.ledger.update import Ledger, Now
from mountwarden.scan.part import Part
from mountwarden.service import loop, reporter
from mountwarden.service.outbox import Outbox
from mountwarden.service.reporter import Reporter
from mountwarden.service.triggers import Wake
from mountwarden.state import clock, pause, silences
from mountwarden.state.pause import Pause
from mountwarden.state.run_directory import RunDirectory

from tests.support.findings import CONFIG, finding
from tests.support.loop_host import FAST, Host, Reported, kinds, no_cause, serve

YEAR = 365 * 86400.0
STEPS = pytest.mark.parametrize("step", [YEAR, -YEAR, 3600.0])


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path)


class Day:
    """time.time() of a clock that is set."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.by = 0.0
        real = time.time
        patch.setattr(time, "time", lambda: real() + self.by)


@pytest.fixture
def day(monkeypatch: pytest.MonkeyPatch) -> Day:
    return Day(monkeypatch)


@STEPS
def test_a_pause_ends_when_it_was_to_whatever_the_clock_is_set_to(run: RunDirectory, day: Day, step: float) -> None:
    pause.write(run, Pause(time.time(), time.time() + 100))
    day.by = step
    now = time.time()
    assert pause.read(run, now + 90)
    assert pause.read(run, now + 110) is None
    found = pause.read(run, now)
    assert found
    assert found == pause.read(run, now), "so that it is not shown anew each time"
    assert (found.since, found.until) == (pytest.approx(now, abs=2), pytest.approx(now + 100, abs=2))


@STEPS
def test_a_silence_ends_when_it_was_to(run: RunDirectory, day: Day, step: float) -> None:
    one = finding(1)
    silences.write(run, [Silence("known", time.time() + 100, one.id)], time.time())
    day.by = step
    for _again in range(2):
        (kept,) = silences.read(run)
        assert update.silenced(one, [kept], time.time() + 90)
        assert not update.silenced(one, [kept], time.time() + 110)
        silences.write(run, [kept], time.time())


def test_what_an_earlier_version_wrote_is_taken_as_it_is(run: RunDirectory) -> None:
    run.pause.write_text('{"schema":"mountwarden.pause/1","since":5.0,"until":50.0,"reason":"x"}')
    assert pause.read(run, 49.0) == Pause(5.0, 50.0, "x")
    assert [clock.moved(then) for then in (None, "x", clock.booted(), clock.booted() - 3)] == [0.0] * 4


@STEPS
def test_findings_are_found_and_cleared_once_while_the_clock_is_set(tmp_path: Path, day: Day, step: float) -> None:
    class Set(Host):
        def scan(self, part: Part | None = None, *, resync: bool = False) -> loop.Scan:
            day.by += step if len(self.scans) % 2 else -step / 2
            return super().scan(part, resync=resync)

    one = finding(1)
    host = Set([one], [one], [one], [one], [])
    host.wakes = [frozenset({Wake.MOUNTS})] * 20
    assert kinds(serve(host, tmp_path)[1]) == ["started", "found", "cleared"]


def scanned(state: Ledger, boot: float, asleep: float = 0.0) -> Ledger:
    state = update.awake(state, boot, asleep)
    return update.update(state, [finding(1)], Now(1e9 + boot, boot), CONFIG)[0]


def is_confirmed(state: Ledger) -> bool:
    return state.entries[finding(1).id].confirmed


def test_a_suspend_confirms_nothing() -> None:
    state = scanned(Ledger("boot"), 10.0)
    state = scanned(state, 3610.5, asleep=3600.0)
    assert not is_confirmed(state), "it was seen for half a second"
    assert update.next_deadline(state) == pytest.approx(3611.5)
    state = scanned(state, 3611.6, asleep=3600.0)
    assert is_confirmed(state)
    assert is_confirmed(scanned(state, 9000.0, asleep=7000.0)), "what is confirmed stays so"


def test_the_service_asks_how_long_the_host_was_suspended(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    one = finding(1)
    moment, host = [Now(1e9, 10.0), Now(1e9, 3610.5), Now(1e9, 3612.0)], Host([one], [one], [one])
    teller = Reporter(Outbox(run, Reported()), no_cause, "boot")
    seen = []
    for now, asleep in zip(moment, (0.0, 3600.0, 3600.0), strict=True):
        monkeypatch.setattr(reporter, "asleep", lambda asleep=asleep: asleep)
        (found,) = teller.remember(host.scan(), now, CONFIG)
        seen.append(found.confirmed)
    assert seen == [False, False, True]


def test_a_loop_that_was_stopped_lets_all_hold_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a minute at most: on a host that is too busy it would be so at each turn."""

    class Stopped(Host):
        def wait(self, seconds: float, *, scan: bool = False, look: bool = False) -> frozenset[Wake]:
            boot[0] += seconds + 5.0
            return super().wait(seconds)

    boot = [1000.0]
    anew: list[float] = []
    monkeypatch.setattr(loop, "_boot", lambda: boot[0])
    monkeypatch.setattr(Reporter, "stopped", lambda _self: anew.append(boot[0]))
    host = Stopped(*([finding(1)] for _ in range(10)))
    host.config = replace(FAST, tick=5.0)
    serve(host, tmp_path)
    assert len(anew) > 1
    assert all(later - earlier >= loop.SELDOM for earlier, later in itertools.pairwise(anew))


def test_what_is_not_confirmed_holds_anew(run: RunDirectory) -> None:
    teller = Reporter(Outbox(run, Reported()), no_cause, "boot")
    teller.ledger = scanned(scanned(Ledger("boot"), 10.0), 11.5)
    confirmed = teller.ledger
    teller.stopped()
    assert teller.ledger == confirmed
    now = reporter.now().boot
    teller.ledger = scanned(Ledger("boot"), now - 50.0)
    teller.stopped()
    assert not is_confirmed(scanned(teller.ledger, reporter.now().boot))
    assert is_confirmed(scanned(teller.ledger, reporter.now().boot + 1.1))
