"""Findings and scans made of nothing, for tests of pure code."""

from dataclasses import fields, replace

from mountwarden.config.schema import Config
from mountwarden.ledger import update
from mountwarden.ledger.update import Ledger, Now
from mountwarden.model import Event, Evidence, Finding, FoundCopy, Kind, Reach, Root, RootKind, Severity

CONFIG = Config()
ROOT = Root(b"/var/lib/docker", "docker", RootKind.GRAPH, (), None)


def finding(number: int = 1, **changes: object) -> Finding:
    """A leaked layer of docker, `mw-` and the number, with these facts of it or of its one copy changed."""
    facts: dict[str, object] = {
        "id": f"mw-{number:010x}",
        "kind": Kind.LEAKED,
        "severity": Severity.WARNING,
        "root": ROOT,
        "home": 1,
        "spot": None,
        "layer": b"X",
        "mountpoint": b"/var/lib/docker/overlay2/X/merged",
        "seen_at": None,
        "namespace": 42,
        "fstype": "overlay",
        "device": "0:40",
        "mount_id": 7,
        "unique_id": None,
        "evidence": Evidence.HISTORY,
        "reach": Reach.RMDIR,
    }
    return of_one_copy(facts | changes)


def of_one_copy(facts: dict[str, object]) -> Finding:
    """A finding with one copy, which has those of the facts that are a copy's."""
    own = {name: facts.pop(name) for name in _OF_COPY & facts.keys()}
    facts.setdefault("copies", (FoundCopy(**own),))  # type: ignore[arg-type]
    return Finding(**facts)  # type: ignore[arg-type]


_OF_COPY = frozenset(field.name for field in fields(FoundCopy))


def changed(one: Finding, **changes: object) -> Finding:
    """The finding with these facts of it or of its first copy changed."""
    own = {name: changes.pop(name) for name in _OF_COPY & changes.keys()}
    copies = (replace(one.first, **own), *one.copies[1:])  # type: ignore[arg-type]
    return replace(one, **{"copies": copies} | changes)  # type: ignore[arg-type]


def spread(one: Finding, *namespaces: int, **changes: object) -> Finding:
    """The finding with a copy like its first one in each of these namespaces."""
    copies = tuple(replace(one.first, namespace=inode) for inode in namespaces)
    facts = {"copies": copies, "count": len(copies), "spaces": len(copies)}
    return changed(replace(one, **facts), **changes)  # type: ignore[arg-type]


def many(count: int, first: int = 100) -> list[Finding]:
    """So many different findings of one root."""
    return [finding(first + number) for number in range(count)]


class History:
    """A ledger that is shown one scan after the other."""

    def __init__(self, config: Config = CONFIG) -> None:
        self.ledger = Ledger("boot")
        self.config = config
        self.reported: list[Event] = []

    def scan(self, at: float, *findings: Finding, took: float = 0.0, **seen: object) -> list[tuple[str, str]]:
        """What this scan made the ledger report: (kind, finding)."""
        now = Now(1e9 + at, at, took)
        self.ledger, events = update.update(self.ledger, findings, now, self.config, **seen)  # type: ignore[arg-type]
        self.reported += events
        return [(event.kind.value, event.subject.id if event.subject else "") for event in events]
