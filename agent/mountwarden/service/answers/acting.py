"""Act: what root asks to be done, after a new scan, by the same machinery as everything else that acts."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ...config.schema import Config
from ...escape import printable
from ...files import read_regular
from ...ledger.update import subject_of
from ...model import Action, Event, EventKind, Finding, Outcome
from ...remedies import apply
from ...report import outcomes
from ...varlink.connection import Call, Peer
from ..actions import FAILED
from ..results import Results
from .interfaces import Failed, NotAllowed

WAIT = 5.0
"""Seconds that findings have to be confirmed."""
SECONDS = 10.0
"""After so many seconds no further batch is begun: the service must go on, and end when it is told to."""
MOST = 1000
"""Findings of one call."""

CarryOut = Callable[
    [Sequence[Finding], Action, Callable[[], bool], str | None, bool, frozenset[int]], Iterable[Outcome]
]
"""Carries out one action for findings; before each of its batches it asks whether to go on. Last, what the operator
says: a unit, whether an unmount is lazy where the copy is in use, and the namespaces that do not keep it back."""
Tell = Callable[[Sequence[Event]], None]


@dataclass(slots=True)
class _Act:
    call: Call
    action: Action
    ids: tuple[str, ...]
    until: float
    scanned: bool = False
    """Whether there was a scan since it was asked for."""

    @property
    def also_unread(self) -> frozenset[int]:
        """Mount namespaces that do not keep it back though they can't be read."""
        return frozenset(self.call.parameters.get("also_unread") or ())

    @property
    def only_said(self) -> bool:
        return bool(self.call.parameters.get("dryRun"))


class Acts:
    """The calls of Act that wait for their scan."""

    def __init__(self, carry_out: CarryOut) -> None:
        self._carry_out = carry_out
        self._waiting: list[_Act] = []

    @property
    def waits(self) -> bool:
        """Whether one needs a scan at once."""
        return any(not act.scanned for act in self._waiting)

    def ask(self, call: Call) -> None:
        """Take one in. Raises: NotAllowed."""
        if call.peer.uid != 0:
            raise NotAllowed("only root may act")
        ids = tuple(dict.fromkeys(call.parameters["ids"]))
        if len(ids) > MOST:
            raise NotAllowed(f"more than {MOST} findings at once")
        self._waiting.append(_Act(call, Action(call.parameters["action"]), ids, time.monotonic() + WAIT))

    def scanned(self, results: Results, tell: Tell) -> None:
        """Do what can be done after this scan. `tell` puts events into the journal."""
        for act in tuple(self._waiting):
            act.scanned = True
            named, missing = _named(act.ids, results.findings)
            held = all(finding.confirmed for finding in named)
            if act.call.over or held or act.only_said or time.monotonic() >= act.until:
                self._waiting.remove(act)
                self._do(act, named, missing, tell, results)

    def failed(self, error: Callable[[Call], None]) -> None:
        """The scan failed: `error` answers each."""
        waiting, self._waiting = self._waiting, []
        for act in waiting:
            error(act.call)

    def _do(self, act: _Act, named: Sequence[Finding], missing: Sequence[str], tell: Tell, results: Results) -> None:
        """What goes wrong that no outcome is for is answered too, and left to the loop. Nothing if the peer is gone."""
        try:
            if not act.call.over:
                self._answer(act, named, missing, tell, results)
        except Exception as error:
            act.call.fail(Failed(f"{type(error).__name__}: {error}"))
            raise

    def _answer(
        self, act: _Act, named: Sequence[Finding], missing: Sequence[str], tell: Tell, results: Results
    ) -> None:
        answer = _Replies(act.call)
        for finding_id in missing:
            text = "declined: there is no such finding now"
            answer.add(outcomes.not_begun(printable(finding_id), act.action, "no-such-finding", text))
        if act.only_said:
            unread = apply.unread_steps(named, results.scan, act.also_unread)
            for one in named:
                answer.add(outcomes.dry_run(one, act.action, unread.get((one.id, act.action), ())))
        else:
            self._act(act, named, answer, tell, results.config)
        answer.end()

    def _act(self, act: _Act, named: Sequence[Finding], answer: "_Replies", tell: Tell, config: Config) -> None:
        until, by = time.monotonic() + SECONDS, _by(act.call.peer)
        left = {finding.id: finding for finding in named if finding.confirmed}
        ended = [
            Outcome(finding, act.action, False, "unconfirmed", outcomes.UNCONFIRMED)
            for finding in named
            if not finding.confirmed
        ]

        def report() -> None:
            """All at once, since the ledger is saved for it; nobody is answered what the journal has not."""
            tell([event(one, time.time(), by, () if one.code == "unconfirmed" else act.also_unread) for one in ended])
            for one in ended:
                answer.add(outcomes.as_json(one, config))
            ended.clear()

        def go_on() -> bool:
            report()
            return time.monotonic() < until and not act.call.over

        unit, lazy = act.call.parameters.get("unit"), bool(act.call.parameters.get("lazy"))
        try:
            for one in self._carry_out(tuple(left.values()), act.action, go_on, unit, lazy, act.also_unread):
                del left[one.finding.id]
                ended.append(one)
        finally:
            report()
        for finding_id in left:
            text = f"declined: it was not reached within {SECONDS:g} s; ask again"
            answer.add(outcomes.not_begun(finding_id, act.action, outcomes.NOT_REACHED, text))


class _Replies:
    """Outcomes, where the peer wants more each as soon as it has taken the last one, else all at the end."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._waiting: list[object] = []

    def add(self, outcome: object) -> None:
        self._waiting.append(outcome)
        if self._call.more and self._call.taken:  # a thousand at once are more than may wait for it one by one
            self._call.reply({"outcomes": self._waiting}, continues=True)
            self._waiting = []

    def end(self) -> None:
        self._call.reply({"outcomes": self._waiting})


def _named(ids: Iterable[str], findings: Iterable[Finding]) -> tuple[list[Finding], list[str]]:
    """The findings that ids name, and the ids that name none."""
    by_id = {finding.id: finding for finding in findings}
    found = [by_id[one] for one in ids if one in by_id]
    return found, [one for one in ids if one not in by_id]


def _by(peer: Peer) -> str:
    """Who asked, for the journal: its name is what it says of itself."""
    try:
        comm = printable(read_regular(f"/proc/{peer.pid}/comm", 64).data.rstrip(b"\n"))
    except OSError:
        comm = "ended"
    return f"uid {peer.uid}, pid {peer.pid} ({comm})"


def event(outcome: Outcome, now: float, by: str, also_unread: Iterable[int] = ()) -> Event:
    """The event that reports what came of an action. `now` is in seconds since the Epoch; `by` is who asked for it, and
    said that these mount namespaces do not keep it back.
    """
    kind = EventKind.ACTED if outcome.done else EventKind.FAILED if outcome.code in FAILED else EventKind.DECLINED
    said = {
        "ACTION": str(outcome.action),
        "CODE": outcome.code,
        "SAW": outcome.saw,
        "DID": outcome.did,
        "VERIFIED": outcome.verified,
        "BY": by,
        "ALSO_UNREAD": " ".join(map(str, sorted(also_unread))),
    }
    subject = subject_of(outcome.finding, outcome.finding.since or now)
    key = f"{outcome.finding.id}.{kind}.{now * 1e6:.0f}"
    return Event(kind, key, now, outcome.text, subject, tuple((name, value) for name, value in said.items() if value))
