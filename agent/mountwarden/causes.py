"""The causes of findings: what must be asked of the host for them, and the sentence that follows."""

from collections.abc import Iterable
from dataclasses import replace

from . import cause, circumstances
from .errors import NoAnswer
from .model import Finding, Gap, Picture
from .observe.mountinfo import Table
from .observe.namespaces import read_mountinfo


def with_causes(findings: Iterable[Finding], picture: Picture) -> tuple[tuple[Finding, ...], tuple[Gap, ...]]:
    """The findings with their causes. systemd is asked once for all of them; what has no answer is a gap."""
    asked = tuple(findings)
    tables: dict[int | None, Table | None] = {}
    for finding in asked:
        if finding.namespace not in tables:
            tables[finding.namespace] = _table(finding.namespace, picture)
    answers = circumstances.gather_all(tuple((finding, tables[finding.namespace]) for finding in asked))
    told = tuple(
        replace(finding, cause=cause.explain(finding, around))
        for finding, (around, _gaps) in zip(asked, answers, strict=True)
    )
    return told, tuple(gap for _around, gaps in answers for gap in gaps)


def with_cause(finding: Finding, picture: Picture) -> Finding:
    """One finding with its cause."""
    return with_causes((finding,), picture)[0][0]


def _table(inode: int | None, picture: Picture) -> Table | None:
    """The mounts of a namespace now; None where they can't be read, which the cause then says."""
    namespace = picture.namespaces.get(inode or 0)
    if namespace is None:
        return None
    try:
        text = read_mountinfo(namespace.inode, namespace.pids)
    except (OSError, NoAnswer):
        return None
    return None if text is None else Table.from_text(text)
