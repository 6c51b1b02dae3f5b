"""A thousand restarts of the service at random moments of leaks' lives: each leak is told once, and acted on rightly.

The loop, its files, the scans and the actions are real, in a pid namespace of few processes; only the journal is a
socket to the test, which hands what it received to the next run, as journald would.
"""

import contextlib
import json
import os
import random
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from mountwarden.config.schema import Config, Confirm, RootEntry, Silence
from mountwarden.kernel import syscalls
from mountwarden.model import Event, Finding, Gap, Kind, Picture, RootKind, Tier
from mountwarden.remedies import apply
from mountwarden.scan import history_file
from mountwarden.scan.history_file import HistoryKeeper
from mountwarden.scan.scanner import Scanner, boot_id
from mountwarden.service import outbox
from mountwarden.service.actions import AutomaticActions
from mountwarden.service.loop import Agent
from mountwarden.service.outbox import Outbox
from mountwarden.service.reporter import Reporter
from mountwarden.service.settings import OperatorSettings
from mountwarden.service.triggers import Triggers
from mountwarden.service.unsaved import Unsaved
from mountwarden.state.run_directory import RunDirectory
from mountwarden.systemd.journal import PREFIX, Entry, Journal
from mountwarden.systemd.notify import Notifier

from tests.kernel import crash
from tests.support import tiers
from tests.support.scratch_ns import Namespace, Sandbox, hold, overlay
from tests.support.wait import wait_until

ROOT = b"/mnt/root"
RUN = RunDirectory(Path("/mnt/run"))
CONFIG = Config(
    tick=0.03,
    engines=(),
    roots=(RootEntry(ROOT, kind=RootKind.GRAPH),),
    confirm=Confirm(layer=0.2),
    acts_per_minute=1_000_000,
    silences=(Silence("a holder's copies of what is live are not what this is about", kind=Kind.SEVERED),),
)
IN_FLIGHT = 12
LONGEST = 330.0
"""Seconds for the restarts; a slow machine makes fewer of them."""


class Sent(Journal):
    """Hands each entry to the test at once, as sendmsg(2) to journald does."""

    def __init__(self, to: socket.socket) -> None:
        super().__init__()
        self._to = to

    @property
    def structured(self) -> bool:
        return True

    def send(self, entry: Entry) -> bool:
        self._to.send(json.dumps(dict(entry)).encode())
        return True


def no_cause(findings: Iterable[Finding], _picture: Picture) -> tuple[tuple[Finding, ...], tuple[Gap, ...]]:
    return tuple(findings), ()


def serve(tier: Tier, to: socket.socket, received: frozenset[str]) -> int:
    """The service, as cli/agent.py puts it together."""

    def in_journal(events: Iterable[Event], _boot_id: str) -> frozenset[str]:
        return frozenset(event.key for event in events) & received

    outbox.in_journal = in_journal
    triggers, config = Triggers(), replace(CONFIG, tier=tier)
    saved, why = history_file.read(RUN, boot_id())
    assert why is None, why
    scanner = Scanner(config, history=saved, keep=HistoryKeeper(RUN, Unsaved(complain).write).keep)
    actions = AutomaticActions(
        RUN,
        lambda findings, action, go_on: apply.carry_out_all(findings, scanner, action, go_on=go_on),
        tidy=lambda: apply.remove_leftovers(scanner),
    )
    settings = OperatorSettings(lambda: config, b"/nonexistent", RUN)
    reporter = Reporter(Outbox(RUN, Sent(to)), no_cause, scanner.boot_id)
    return Agent(scanner, settings, reporter, actions, triggers, Notifier()).run()


def complain(_level: int, text: str) -> None:
    raise AssertionError(text)


@dataclass
class Leak:
    """One mount, and its copy in a holder's namespace."""

    layer: bytes
    holder: Namespace
    seen: bool | None
    """Whether the service saw the copy beside home's mount: it saved that; no run can have; or as it happened."""
    unmounted: bool = False

    @property
    def mountpoint(self) -> str:
        return os.fsdecode(self.layer + b"/merged")


@dataclass
class Story:
    """The leaks, and what the service's runs said of them."""

    tier: Tier
    dice: random.Random
    stack: contextlib.ExitStack
    leaks: list[Leak] = field(default_factory=list)
    entries: list[dict[str, str]] = field(default_factory=list)
    pid: int = 0
    restarts: int = 0
    ids: dict[str, str] = field(default_factory=dict)
    """Of the leaks' findings, by mountpoint."""

    def __post_init__(self) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self.ours, self.theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
        self.ours.setblocking(False)

    def drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while data := self.ours.recv(1 << 20):
                self.entries.append(json.loads(data))
        with contextlib.suppress(FileNotFoundError):
            for one in json.loads(RUN.report.read_bytes())["findings"]:
                if one["kind"] == Kind.LEAKED:
                    self.ids[one["mountpoint"]] = one["id"]

    def start(self) -> None:
        self.drain()
        received = frozenset(entry.get(f"{PREFIX}EVENT_ID", "") for entry in self.entries)
        self.pid = os.fork()
        if self.pid == 0:
            status = 99
            try:
                syscalls.die_with_parent(signal.SIGKILL)
                status = serve(self.tier, self.theirs, received)
            finally:
                os._exit(status)

    def stop(self, number: signal.Signals) -> None:
        if self.pid:
            os.kill(self.pid, number)
            _pid, status = os.waitpid(self.pid, 0)
            self.pid = 0
            assert status in (0, number), f"the service ended with {status}"
            self.restarts += 1
        self.drain()

    def make(self) -> None:
        """A layer that home mounts and a holder copies: with a service that is to see it, or with none."""
        layer = ROOT + b"/%d" % len(self.leaks)
        overlay(layer)
        leak = Leak(layer, self.stack.enter_context(hold()), seen=None)
        for other in self.leaks:
            if not other.unmounted:
                leak.holder.run(syscalls.umount, os.fsencode(other.mountpoint))
        self.leaks.append(leak)
        if not self.pid:
            leak.seen = False
            self.unmount(leak)
        elif self.dice.random() < 0.7:
            wait_until(lambda: self.is_saved(leak), 20, "the copy is saved")
            leak.seen = True

    def is_saved(self, leak: Leak) -> bool:
        self.drain()
        saved, _why = history_file.read(RUN, boot_id())
        places = {row[3] for space in saved.namespaces if space.inode == leak.holder.inode for row in space.copies}
        return any(saved.mounts[place].mountpoint == os.fsencode(leak.mountpoint) for place in places)

    def unmount(self, leak: Leak) -> None:
        syscalls.umount(os.fsencode(leak.mountpoint))
        leak.unmounted = True

    def step(self) -> None:
        """Something happens to the leaks."""
        waiting = [leak for leak in self.leaks if not leak.unmounted]
        held = [leak for leak in self.leaks if leak.holder.pid]
        if waiting and self.dice.random() < 0.6:
            self.unmount(self.dice.choice(waiting))
        elif len(held) < IN_FLIGHT:
            self.make()
        else:
            done = [leak for leak in held if self.told("cleared", leak)]
            for leak in done or held[:1]:
                if leak.unmounted and (done or self.told("found", leak)):
                    leak.holder.kill()

    def told(self, event: str, leak: Leak) -> int:
        """How often an event was told of a leak, alone or in a summary."""
        return self.counts()[event, self.ids.get(leak.mountpoint, "")]

    def counts(self) -> Counter[tuple[str, str]]:
        counted: Counter[tuple[str, str]] = Counter()
        for entry in self.entries:
            event, finding = entry.get(f"{PREFIX}EVENT", ""), entry.get(f"{PREFIX}FINDING", "")
            if event == "summary":
                for one in entry[f"{PREFIX}FINDINGS"].split():
                    counted[entry[f"{PREFIX}SUMMARY_OF"], one] += 1
            elif finding:
                counted[event, finding] += 1
                self.ids[entry[f"{PREFIX}MOUNTPOINT"]] = finding
        return counted

    def live(self, restarts: int) -> None:
        """Restart after restart, each at a random moment."""
        until = time.monotonic() + LONGEST
        while self.restarts < restarts and time.monotonic() < until:
            self.start()
            if self.dice.random() < 0.5:
                self.step()
            pause(self.dice.expovariate(1 / 0.12))
            self.stop(self.dice.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)))
            if self.dice.random() < 0.3:
                self.step()

    def settle(self) -> None:
        """The last run, in which everything comes to its end."""
        for leak in self.leaks:
            if not leak.unmounted:
                self.unmount(leak)
        self.start()
        self.await_all(self.is_told)
        for leak in self.leaks:
            if leak.holder.pid:
                leak.holder.kill()
        self.await_all(lambda leak: self.told("cleared", leak) > 0)
        self.stop(signal.SIGTERM)

    def await_all(self, condition: Callable[[Leak], bool]) -> None:
        """Wait until each leak meets it."""

        def missing() -> list[tuple[Leak, list[str]]]:
            self.drain()
            told = self.counts()
            return [
                (leak, [event for event, finding in told if finding == self.ids.get(leak.mountpoint)])
                for leak in self.leaks
                if not condition(leak)
            ]

        try:
            wait_until(lambda: not missing(), 40)
        except AssertionError:
            raise AssertionError(f"not all within 40 s: {missing()}") from None

    def is_told(self, leak: Leak) -> bool:
        """Told as found, and where the service is sure to have seen it, acted on too."""
        acted = self.told("acted", leak) + self.told("failed", leak)
        return bool(self.told("found", leak)) and (
            bool(acted) or leak.seen is not True or self.told("cleared", leak) > 0
        )


def pause(seconds: float) -> None:
    """A random moment is what is wanted here, not an event."""
    until = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= until, seconds + 60)


def told_by(tier: Tier, seed: int, restarts: int) -> tuple[int, int]:
    """Live through the restarts; how many there were, and how many actions."""
    with contextlib.ExitStack() as stack:
        story = Story(tier, random.Random(seed), stack)
        story.live(restarts)
        story.settle()
        counts = story.counts()
        events = Counter(event for event, _finding in counts)
        print(f"{tier}, seed {seed}: {story.restarts} restarts, {len(story.leaks)} leaks, {dict(events)}", flush=True)
        twice = {key: count for key, count in counts.items() if count != 1}
        assert not twice, f"told more than once (seed {seed})"
        for leak in story.leaks:
            told = {event for event, finding in counts if finding == story.ids[leak.mountpoint]}
            assert {"found", "cleared"} <= told, f"{leak} (seed {seed})"
            assert not {"acted", "failed"} <= told, f"{leak}: one attempt has one end (seed {seed})"
            assert leak.seen is not False or not told & {"acted", "failed", "declined"}, f"{leak} (seed {seed})"
        return story.restarts, events["acted"]


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "used",
    [pytest.param(one, marks=[pytest.mark.long] * bool(at)) for at, one in enumerate(tiers.available())],
    ids=str,
)
def test_restarts_at_random_moments(used: Tier) -> None:
    assert run(used, 20, 100)[0] >= 5


@pytest.mark.long
@pytest.mark.timeout(180)
def test_more_restarts_at_random_moments() -> None:
    assert run(tiers.available()[0], 60, 150)[1] >= 1


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_thousand_restarts_at_random_moments() -> None:
    restarts, acted = run(tiers.available()[0], 1000, 500)
    assert restarts >= 250, "the machine is too slow for this to show anything"
    assert acted >= restarts // 50


def run(tier: Tier, restarts: int, timeout: float) -> tuple[int, int]:
    seed = random.randrange(1 << 30)

    def in_home(_sandbox: Sandbox) -> tuple[int, int]:
        return told_by(tier, seed, restarts)

    return crash.in_few_processes(in_home, timeout)
