"""Answers that a forked child gives: one finding in full, and a snapshot. What they import is loaded there alone."""

import re
from collections.abc import Callable, Iterable
from dataclasses import replace

from ...model import Finding
from ...report import answers, build
from ...report.build import ReportFacts
from ..results import Results
from .children import Write
from .interfaces import NoSuchFinding

EXPLAIN_SECONDS = 20.0
SNAPSHOT_SECONDS = 60.0
PART = 1 << 18
"""Characters of a snapshot's text in one part."""

_ID = re.compile(r"mw-[0-9a-f]{10}\Z")


def matching(finding_id: str, findings: Iterable[Finding]) -> list[Finding]:
    """The finding of this id; else those whose ids begin so."""
    known = tuple(findings)
    exact = [finding for finding in known if finding.id == finding_id]
    return exact or [finding for finding in known if len(finding_id) > 3 and finding.id.startswith(finding_id)]


def explain(finding_id: str, results: Results, facts: Callable[[Results], ReportFacts]) -> Callable[[Write], None]:
    """What a child does to explain the finding of this id; of one that is over it says what the journal has.

    `facts` gives the facts of a report. Raises: NoSuchFinding.
    """
    found = matching(finding_id, results.findings)
    if len(found) > 1:
        raise NoSuchFinding(finding_id, f"{len(found)} ids begin so: {', '.join(one.id for one in found[:3])}")
    if found:
        return lambda write: _explain(found[0], results, facts, write)
    if not _ID.match(finding_id):
        raise NoSuchFinding(finding_id, _near(finding_id, results))
    return lambda write: _over(finding_id, results, write)


def _explain(finding: Finding, results: Results, facts: Callable[[Results], ReportFacts], write: Write) -> None:
    from ...explain import shared_causes
    from ...report import background

    picture = results.scan.picture
    (explained,), _gaps = shared_causes.explained([finding], picture, everything=True)
    around = background.background(explained, results.scan, agent=True)
    known = facts(replace(results, findings=(explained,)))
    (planned,) = known.findings
    write({"explanation": answers.explained(build.finding_json(planned), build.steps(planned), around)})


def _over(finding_id: str, results: Results, write: Write) -> None:
    from ...report import background

    past = background.over(finding_id)
    if past is None:
        raise NoSuchFinding(finding_id, _near(finding_id, results))
    write({"explanation": answers.over(finding_id, past)})


def _near(finding_id: str, results: Results) -> str | None:
    import difflib

    near = difflib.get_close_matches(finding_id[:40], [finding.id for finding in results.findings], 1)
    return f"did you mean {near[0]}?" if near else None


def snapshot(results: Results, *, anonymous: bool) -> Callable[[Write], None]:
    """What a child does to give the text of a snapshot's file, part by part."""

    def give(write: Write) -> None:
        from ...scan import confirm
        from ...snapshot import all_mounts, anonymize, file, take

        hostname, kernel = confirm.host()
        taken = take.take(
            results.scan,
            results.findings,
            results.config,
            hostname=hostname,
            kernel=kernel,
            paused=results.pause is not None,
            survey=all_mounts.take(),
        )
        text = file.dumps(anonymize.anonymous(taken) if anonymous else taken)
        for at in range(0, len(text), PART):
            write({"part": text[at : at + PART]})

    return give
