"""The methods on the service's socket, by what the loop knows after its last scan."""

import sys
import traceback
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

from ...escape import sentence
from ...model import Action, Finding, Severity
from ...output.metrics import Counts
from ...remedies import apply
from ...report import answers
from ...report.answers import PlannedJson
from ...report.build import ReportFacts
from ...report.types import ReportJson
from ...varlink import wire
from ...varlink.connection import Call
from ...varlink.interface import VarlinkError
from ...varlink.server import VarlinkServer
from ..results import Results
from . import interfaces, long, metrics
from .acting import Acts, Tell
from .children import Children, Job
from .interfaces import Failed, NoSuchFinding, NotAllowed
from .watchers import Watchers


class Documents(Protocol):
    """What is shown of a scan: publish.Publisher."""

    @property
    def counts(self) -> Counts:
        """What was counted since the start."""

    def facts(self, results: Results) -> ReportFacts:
        """What there is to report of it, with the remedies of its findings."""

    def report(self, results: Results) -> ReportJson:
        """Its report."""

    def status(self, report: ReportJson, results: Results) -> dict[str, Any]:
        """The service's status after it."""


class Methods:
    """The server, and what waits for a scan."""

    def __init__(self, documents: Documents, acts: Acts, watchers: Watchers) -> None:
        own = {
            "Report": self._report,
            "Watch": self._watch,
            "Explain": self._explain,
            "Plan": self._plan,
            "Act": acts.ask,
            "Status": self._status,
            "Snapshot": self._snapshot,
        }
        gauges = {"List": self._list, "Describe": lambda call: _all(call, metrics.families())}
        methods = {interfaces.OWN: own, interfaces.METRICS: gauges}
        guarded = {
            name: {method: partial(_guarded, answer) for method, answer in known.items()}
            for name, known in methods.items()
        }
        self.server: VarlinkServer = interfaces.server(guarded)
        self.children = Children(self.server)
        self._documents, self._acts, self._watchers = documents, acts, watchers
        self._results: Results | None = None
        self._reports: list[Call] = []
        """Those who wait for the next scan."""
        self._early: list[tuple[Callable[[Call], None], Call]] = []
        """Those who came before the first one."""
        self._encoded: dict[str, bytes] = {}
        """Documents about the last scan, as they are sent."""
        self._unread: dict[tuple[str, Action], list[str]] | None = None
        """What is to be said in plans of namespaces that it could not read; None: not asked yet."""

    @property
    def wants_scan(self) -> bool:
        """Whether a client waits for a scan that the budget may put off."""
        return bool(self._reports)

    @property
    def of_root(self) -> bool:
        """Whether one of those is root."""
        return any(call.peer.uid == 0 for call in self._reports)

    @property
    def needs_scan(self) -> bool:
        """Whether one waits for a scan that must be now."""
        return self._acts.waits

    def scanned(self, results: Results, tell: Tell) -> None:
        """A scan is over: answer who waits for it. `tell` puts events into the journal."""
        self._results, self._encoded, self._unread = results, {}, None
        early, self._early = self._early, []
        for method, call in early:
            _guarded(method, call)
        self.no_scan()
        self._acts.scanned(results, tell)

    def no_scan(self) -> None:
        """No scan comes soon: who waits for one gets what the last one saw."""
        if self._results is not None:
            reports, self._reports = self._reports, []
            for call in reports:
                call.reply(self._report_of(self._results))

    def failed(self, why: str) -> None:
        """The scan failed."""
        waiting = [*self._reports, *(call for _method, call in self._early)]
        self._reports, self._early = [], []
        for call in waiting:
            call.fail(Failed(why))
        self._acts.failed(lambda call: call.fail(Failed(why)))

    # Methods -------------------------------------------------------------------------------------------------------

    def _report(self, call: Call) -> None:
        if call.parameters.get("scan") is False:
            self._known(call, lambda results: call.reply(self._report_of(results)))
        else:
            self._reports.append(call)

    def _watch(self, call: Call) -> None:
        self._watchers.watch(call, self.children)

    def _known(self, call: Call, answer: Callable[[Results], object]) -> None:
        """Answer by what the last scan saw; after the first one, where there is none yet."""
        if self._results is None:
            self._early.append((lambda late: self._known(late, answer), call))
        else:
            answer(self._results)

    def _report_of(self, results: Results) -> bytes:
        return self._as_sent("report", lambda: self._documents.report(results))

    def _as_sent(self, name: str, document: Callable[[], object]) -> bytes:
        if name not in self._encoded:
            self._encoded[name] = wire.encode({name: document()})
        return self._encoded[name]

    def _status(self, call: Call) -> None:
        def answer(results: Results) -> None:
            call.reply(
                self._as_sent("status", lambda: self._documents.status(self._documents.report(results), results))
            )

        self._known(call, answer)

    def _plan(self, call: Call) -> None:
        self._known(call, lambda results: call.reply({"plan": self._planned(call.parameters.get("ids"), results)}))

    def _planned(self, ids: Iterable[str] | None, results: Results) -> list[PlannedJson]:
        """Raises: NoSuchFinding."""
        chosen: list[Finding] = [one for one in results.findings if one.severity is not Severity.INFO]
        if ids is not None:
            chosen = []
            for finding_id in dict.fromkeys(ids):
                found = long.matching(finding_id, results.findings)
                if len(found) != 1:
                    raise NoSuchFinding(finding_id)
                chosen += found
        wanted = {finding.id for finding in chosen}
        if self._unread is None:
            self._unread = apply.unread_steps(results.findings, results.scan)
        known = self._documents.facts(results).findings
        return [answers.planned(finding, self._unread) for finding in known if finding.id in wanted]

    def _explain(self, call: Call) -> None:
        self._known(
            call,
            lambda results: self._by_child(
                call,
                long.explain(call.parameters["id"], results, self._documents.facts),
                long.EXPLAIN_SECONDS,
            ),
        )

    def _snapshot(self, call: Call) -> None:
        if call.peer.uid != 0:
            raise NotAllowed("only root may take a snapshot: it holds the mounts of all namespaces")
        anonymous = bool(call.parameters.get("anonymous"))
        self._known(
            call,
            lambda results: self._by_child(call, long.snapshot(results, anonymous=anonymous), long.SNAPSHOT_SECONDS),
        )

    def _by_child(self, call: Call, work: Callable[..., None], deadline: float) -> None:
        """Answer with what a child writes: the last part ends a call."""
        held: list[bytes] = []

        def part(data: bytes) -> None:
            for one in held:
                call.reply(one, continues=True)
            held[:] = [data]

        def done(error: VarlinkError | None, seconds: float) -> None:
            self.server.charge(call.peer, seconds)
            if error is None and held:
                call.reply(held[0])
            else:
                call.fail(error or Failed("there was no answer"))

        job = Job(work, deadline, part, done, taken=lambda: call.taken)
        call.on_end = lambda: self.children.stop(job)
        self.children.start(job)

    def _list(self, call: Call) -> None:
        self._known(
            call,
            lambda results: _all(call, metrics.values(self._documents.report(results), self._documents.counts)),
        )


def _all(call: Call, replies: Iterable[dict[str, object]]) -> None:
    """Each as a reply, the last without `continues`."""
    *first, last = replies
    for one in first:
        call.reply(one, continues=True)
    call.reply(last)


def _guarded(method: Callable[[Call], None], call: Call) -> None:
    """What a method raises is its caller's answer, and never the end of the service."""
    try:
        method(call)
    except VarlinkError as error:
        call.fail(error)
    except Exception as error:
        print(*(f"<7>{sentence(line)}" for line in traceback.format_exc().splitlines()), sep="\n", file=sys.stderr)
        call.fail(Failed(f"{type(error).__name__}: {error}"))
