"""The ledger as text, and back."""

import json
from dataclasses import replace

import pytest
from mountwarden.ledger import breaker, stored
from mountwarden.ledger import update as book
from mountwarden.ledger.update import Attempt, GapEntry, Ledger, Now
from mountwarden.model import Action, Cause, Finding, Holder

from tests.support.findings import CONFIG, ROOT, finding, many


def full() -> Ledger:
    """A ledger with something in every field."""
    evil = finding(1, mountpoint=b"/r/\xff\n\x1b/merged", root=replace(ROOT, path=b"/r/\xfe"), cause=Cause("c", "t"))
    ones: list[Finding] = [replace(evil, holders=(Holder(7, "sleep", "u.service", "abc"),)), *many(30)]
    more = [*ones, *many(3, first=700)]
    state = Ledger("boot")
    for at, scanned in enumerate((ones, ones, more, more)):
        state, _ = book.update(state, scanned, Now(1e9 + at, at), CONFIG)
    state = breaker.begin(state, ones[0], Now(4, 4))
    state = breaker.finish(state, ones[0], Action.DETACH, Attempt.FAILED, Now(5, 5), "no", {"SAW": "x"})
    return replace(state, paused=True, gaps={"a: b": GapEntry(1.5, True)})


def test_there_and_back() -> None:
    state = full()
    assert all(getattr(state, name) for name in state.__slots__)
    assert stored.load(stored.dump(state), "boot") == (state, None)


def test_no_file_is_a_new_ledger_and_nothing_to_say() -> None:
    assert stored.load(None, "boot") == (Ledger("boot"), None)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "can't be read"),
        (b"{", "can't be read"),
        (b"[]", "can't be read"),
        (b"{}", "can't be read"),
        (b"\xff\xfe", "can't be read"),
        (b'{"schema": "mountwarden.ledger/9", "ledger": {}}', "another version"),
        (b'{"schema": "mountwarden.ledger/1", "ledger": {}}', "can't be read"),
        (b'{"schema": "mountwarden.ledger/1", "ledger": {"boot_id": 1}}', "can't be read"),
        (b'{"schema": "mountwarden.ledger/1", "ledger": {"boot_id": "boot", "what": 1}}', "can't be read"),
        (b'{"schema": "mountwarden.ledger/1", "ledger": {"boot_id": "boot", "entries": [["a", 1]]}}', "can't be read"),
        (b'{"schema": "mountwarden.ledger/1", "ledger": {"boot_id": "other"}}', "another boot"),
    ],
)
def test_what_does_not_fit_starts_anew_and_is_said(data: bytes, why: str) -> None:
    state, reason = stored.load(data, "boot")
    assert state == Ledger("boot")
    assert why in (reason or "")


def test_every_cut_of_the_text_is_survived() -> None:
    data = stored.dump(full())
    for end in range(0, len(data) - 1, 97):
        state, reason = stored.load(data[:end], "boot")
        assert (state, bool(reason)) == (Ledger("boot"), True)


def test_every_wrong_type_is_survived() -> None:
    document = json.loads(stored.dump(full()))

    def spoil(node: object) -> None:
        """Replace each value below by one of another type, one at a time, and load."""
        if not isinstance(node, dict | list):
            return
        places = list(node.items()) if isinstance(node, dict) else list(enumerate(node))
        for key, value in places[-13:]:
            for wrong in ({"x": 1}, [[1]], 1.5, "text", None):
                node[key] = wrong
                stored.load(json.dumps(document).encode(), "boot")
            node[key] = value
            spoil(value)

    document["ledger"]["entries"] = document["ledger"]["entries"][:1]
    spoil(document["ledger"])
    state, reason = stored.load(json.dumps(document).encode(), "boot")
    assert (list(state.entries), reason) == (["mw-0000000001"], None)
