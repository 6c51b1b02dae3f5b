"""The causes of many findings at once: copies of one root in one namespace have one cause, asked for once."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from ..model import Cause, Finding, Gap, Kind, Picture, Severity
from .attribute import explain

Explain = Callable[[Finding, Picture], tuple[Finding, tuple[Gap, ...]]]


def with_causes(
    findings: Iterable[Finding], picture: Picture, ask: Explain = explain
) -> tuple[tuple[Finding, ...], tuple[Gap, ...]]:
    """The attributed findings with their causes, and what could not be read or asked for them.

    `ask` is called for the first finding of each cause. `attribute.explain` may ask PID 1, and reads unit files, an
    engine's own configuration, and the namespaces' mountinfo.
    """
    known: dict[tuple[object, ...], Cause | None] = {}
    gaps: list[Gap] = []
    completed = []
    for finding in findings:
        key = (finding.kind, finding.root.path, finding.first.namespace, _parent(finding))
        if key not in known:
            explained, more = ask(finding, picture)
            known[key] = explained.cause
            gaps += more
        completed.append(replace(finding, cause=known[key]))
    return tuple(completed), tuple(gaps)


def explained(
    findings: Iterable[Finding], picture: Picture, *, everything: bool = False
) -> tuple[tuple[Finding, ...], tuple[Gap, ...]]:
    """All the findings, each with its cause (of info only with `everything`), and what could not be asked for it."""
    findings = tuple(findings)
    asked = [f for f in findings if f.cause is None and (everything or f.severity is not Severity.INFO)]
    answered, gaps = with_causes(asked, picture)
    by_id = {finding.id: finding for finding in answered}
    return tuple(by_id.get(finding.id, finding) for finding in findings), gaps


def _parent(finding: Finding) -> object:
    """What the copy is mounted on: siblings below one bind are cut off at the same place. The mountpoint otherwise."""
    if finding.kind is Kind.LEAKED and finding.target is not None:
        for copy in finding.target.copies:
            if finding.is_first(copy) and copy.parent:
                return copy.parent.id
    return finding.mountpoint
