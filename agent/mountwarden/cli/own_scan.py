"""A scan of this process as the source of answers: where no service answers, or where another scan is asked for."""

from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from ..explain import shared_causes
from ..model import Finding, Severity
from ..remedies import apply
from ..remedies.plan import plan
from ..report import answers, assemble, background, build, types
from ..report.answers import ExplainedJson, OverJson, PlannedJson
from ..report.outcomes import OutcomeJson
from ..scan.confirm import ConfirmedScan, confirmed_scan
from . import finding_ids, host_view, joined, performing, service_report, session
from .last_report import planned_as_told
from .service import scanning_again
from .source import Order


class OwnScan:
    """What this scan says, joined with the last report of a service that runs and gives no answer."""

    def __init__(self, arguments: Namespace, note: str, *, acts: bool) -> None:
        """`note` is why the service is not asked, and what that means."""
        self.note: str | None = note
        self._scanner = session.scanner(arguments, acts=acts)
        self._found: ConfirmedScan | None = None

    def _scan(self, wait: float, *, everything: bool) -> tuple[ConfirmedScan, service_report.ServiceReport]:
        """A scan, confirmed by the service or by a second scan, and what the service says after it."""
        known = session.known(self._scanner)
        found = confirmed_scan(self._scanner, wait=wait, everything=everything, known=known, waiting=scanning_again)
        agent = service_report.read(self._scanner.boot_id)
        self._found = replace(found, findings=agent.as_known(found.findings))
        return self._found, agent

    def report(self, *, wait: float, everything: bool = False) -> types.ReportJson:
        """As AnswerSource.report."""
        found, agent = self._scan(wait, everything=everything)
        findings, gaps = shared_causes.explained(found.findings, found.seen.picture)
        circumstances = session.circumstances(self._scanner, agent)
        gaps += host_view.gaps()
        facts = assemble.facts(found.seen, findings, self._scanner.config, gaps=gaps, circumstances=circumstances)
        return build.joined(build.build(facts), joined.alone(agent, found))

    def explain(self, finding_id: str, *, wait: float) -> ExplainedJson | OverJson:
        """As AnswerSource.explain."""
        found, agent = self._scan(wait, everything=True)
        theirs = {one["id"]: one for one in joined.alone(agent, found)}
        known = {finding.id: finding for finding in found.findings}
        (name,) = finding_ids.resolved([finding_id], [*known, *theirs])
        if name in known:
            return self._explained(known[name], found, agent)
        past = background.over(name)
        if name in theirs:
            return answers.explained(theirs[name], {}, past)
        if past is None:
            raise finding_ids.unknown(name, [*known, *theirs])
        return answers.over(name, past)

    def _explained(self, finding: Finding, found: ConfirmedScan, agent: service_report.ServiceReport) -> ExplainedJson:
        (whole,), _gaps = shared_causes.explained([finding], found.seen.picture, everything=True)
        around = background.background(whole, found.seen, agent=finding.id in agent.since())
        planned = plan(whole, self._scanner.config, session.circumstances(self._scanner, agent))
        return answers.explained(build.finding_json(planned), build.steps(planned), around)

    def plan(self, ids: Sequence[str], *, wait: float) -> list[PlannedJson]:
        """As AnswerSource.plan."""
        found, agent = self._scan(wait, everything=bool(ids))
        theirs = joined.alone(agent, found)
        wanted = finding_ids.resolved(ids, [*(one.id for one in found.findings), *(one["id"] for one in theirs)])

        def meant(finding_id: str, severity: str) -> bool:
            return finding_id in wanted if ids else severity != Severity.INFO

        circumstances = session.circumstances(self._scanner, agent)
        own = [plan(one, self._scanner.config, circumstances) for one in found.findings if meant(one.id, one.severity)]
        told = [planned_as_told(one) for one in theirs if meant(one["id"], one["severity"])]
        unread = apply.unread_steps(own, found.seen)
        return [*(answers.planned(finding, unread) for finding in own), *told]

    def act(self, order: Order, go_on: Callable[[], bool]) -> Iterator[OutcomeJson]:
        """As AnswerSource.act. Raises: Declined where the service runs, which alone may act then."""
        found = self._found or self._scan(0.0, everything=True)[0]
        by_id = {finding.id: finding for finding in found.findings}
        chosen = [by_id[one] for one in order.ids if one in by_id]
        return (
            performing.steps(order, chosen, found.seen)
            if order.dry_run
            else performing.perform(order, chosen, self._scanner, go_on)
        )

    def close(self) -> None:
        """Close what the scanner has open."""
        self._scanner.close()
