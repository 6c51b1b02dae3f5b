"""The catalog explains every message id that is sent, with fields that are really sent."""

import re
from pathlib import Path

import pytest
from mountwarden.model import Event, EventKind, Kind, Severity, Subject
from mountwarden.output import journal_messages

CATALOG = Path(__file__).parents[2] / "packaging" / "catalog" / "mountwarden.catalog"


def entries() -> dict[str, str]:
    parts = re.split(r"^-- ([0-9a-f]{32})\n", CATALOG.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def event(kind: EventKind) -> Event:
    data = {
        EventKind.SUMMARY: (("SUMMARY_OF", "found"), ("COUNT", "3"), ("FINDINGS", "a b c"), ("ROOT", "/r")),
        EventKind.GAP: (("COUNT", "2"),),
        EventKind.MISSED: (("COUNT", "2"),),
        EventKind.LOST: (("COUNT", "2"),),
        EventKind.PAUSED: (("UNTIL", "the next boot"),),
    }
    subject = Subject("mw-0123456789", Kind.LEAKED, Severity.WARNING, b"/r", "docker", b"/r/x/merged", 1.0)
    about = subject if kind in journal_messages.ABOUT_A_FINDING else None
    return Event(kind, "key", 2.0, "a text", about, data.get(kind, ()))


def test_ids_are_distinct_and_random() -> None:
    ids = list(journal_messages.IDS.values())
    assert set(journal_messages.IDS) == set(EventKind)
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}", one) for one in ids)
    assert len({one[:8] for one in ids}) == len(ids)


@pytest.mark.parametrize("kind", list(EventKind))
def test_each_event_is_explained(kind: EventKind) -> None:
    head, _, body = entries()[journal_messages.IDS[kind]].partition("\n\n")
    assert [line.split(":")[0] for line in head.splitlines()] == ["Subject", "Defined-By", "Documentation"]
    assert len(body.split()) > 15


def test_no_entry_is_left_over() -> None:
    assert set(entries()) == set(journal_messages.IDS.values())


def test_lines_are_76_columns_at_most() -> None:
    assert [line for line in CATALOG.read_text().splitlines() if len(line) > 76] == []


@pytest.mark.parametrize("kind", list(EventKind))
def test_fields_of_the_text_are_sent(kind: EventKind) -> None:
    wanted = set(re.findall(r"@([A-Z_]+)@", entries()[journal_messages.IDS[kind]]))
    sent = {name: value for name, value in journal_messages.entry(event(kind)) if value}
    assert wanted <= journal_messages.declared(kind)
    assert journal_messages.declared(kind) <= set(sent)
