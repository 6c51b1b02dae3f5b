"""The ledger as text, and back."""

import json
from dataclasses import replace

import pytest
from mountwarden.ledger import breaker, stored, update
from mountwarden.ledger.update import Attempt, GapEntry, Ledger, Now, Reported
from mountwarden.model import Action, Cause, EventKind, Finding, Holder

from tests.support.findings import CONFIG, ROOT, changed, finding, many

CAUSE = Cause("c", "t", "u.service", "MountFlags", "private", "/etc/u", 7)


def full() -> Ledger:
    """A ledger with something in every field."""
    evil = finding(1, mountpoint=b"/r/\xff\n\x1b/merged", root=replace(ROOT, path=b"/r/\xfe"), cause=CAUSE)
    ones: list[Finding] = [changed(evil, holders=(Holder(7, "sleep", "u.service", "abc"),)), *many(30)]
    more = [*ones, *many(3, first=700)]
    state = Ledger("boot")
    for at, scanned in enumerate((ones, ones, more, more)):
        state, _ = update.update(state, scanned, Now(1e9 + at, at), CONFIG)
    state = breaker.begin(state, ones[0], Now(4, 4))
    state = breaker.finish(state, ones[0], Action.DETACH, Attempt.FAILED, Now(5, 5), "no", {"SAW": "x"})
    return replace(state, paused=True, gaps={"a: b": GapEntry(1.5, True)}, asleep=1.0)


def test_there_and_back() -> None:
    state = full()
    assert all(getattr(state, name) for name in state.__slots__)
    assert stored.load(stored.dump(state), "boot") == (state, None)


OF_VERSION_2 = (
    rb'{"schema":"mountwarden.ledger/2","ledger":{"boot_id":"boot","entries":[["mw-0000000001",{"subject":{"id":'
    rb'"mw-0000000001","kind":"leaked","severity":"warning","root":"/r/\udcfe","engine":"docker","mountpoint":'
    rb'"/r/a\\x2db\udcff\n\u001b/\u00e4","since":1000000000.0,"layer":"X","seen_at":null,"namespaces":[42],"spaces":1,'
    rb'"evidence":"history","cause":{"code":"c","text":"t","unit":"u.service","directive":"MountFlags","value":'
    rb'"private","file":"/etc/u","line":7},"count":1,"pid":7,"comm":"sleep","unit":"my\\x2dapp.service","units":'
    rb'["my\\x2dapp.service"],"container":"abc","mount_class":"layer","others":0},"mounts":["0:40 42 7"],"first":0.0,'
    rb'"due":1.0,"confirmed":true,"told":"alone","attempt":'
    rb'"failed","declines":[]}]],"pending":[{"kind":"summary","key":"summary.found.1","at":1000000001.0,"text":"","subject":null,'
    rb'"data":[["COUNT","30"]]}],"storms":[[["found","/r/\udcfe"],{"start":1.0,"told":1,"held":["mw-00000002bc"]}]],'
    rb'"acts":[4.0],"roots":[["/r/\udcfe",{"failures":1,"shares":0,"left_alone":false,"fought":false}]],"gaps":'
    rb'[["a: b",{"first":1.5,"told":true}]],"causes":[],"paused":true}}'
)
"""As the file was written when this form of it was new: a service that is updated reads what the one before it left."""


def test_a_ledger_that_an_earlier_version_left_is_read() -> None:
    state, why = stored.load(OF_VERSION_2, "boot")
    assert why is None
    entry = state.entries["mw-0000000001"]
    assert entry.subject.mountpoint == rb"/r/a\x2db" + b"\xff\n\x1b/\xc3\xa4"
    assert (entry.subject.unit, entry.subject.cause) == (r"my\x2dapp.service", CAUSE)
    assert (entry.reported, entry.attempt) == (Reported.ALONE, Attempt.FAILED)
    assert state.bursts[EventKind.FOUND, b"/r/\xfe"].waiting == ("mw-00000002bc",)
    assert state.pending[0].data == (("COUNT", "30"),)
    assert state.roots[b"/r/\xfe"].failures == 1
    newer = OF_VERSION_2.replace(b'{"first":1.5,"told":true}', b'{"first":1.5,"told":true,"last":0.0}')
    assert stored.dump(state) == newer


def test_the_reason_names_the_place() -> None:
    document = json.loads(OF_VERSION_2)
    document["ledger"]["entries"][0][1]["subject"]["pid"] = "7"
    _state, why = stored.load(json.dumps(document).encode(), "boot")
    assert why == "the saved ledger can't be read (Subject.pid: a whole number is wanted)"


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
        (b"[" * 100_000, "can't be read"),
        (b'{"schema": "mountwarden.ledger/9", "ledger": {}}', "another version"),
        (b'{"schema": "mountwarden.ledger/2", "ledger": {}}', "can't be read"),
        (b'{"schema": "mountwarden.ledger/2", "ledger": {"boot_id": 1}}', "can't be read"),
        (b'{"schema": "mountwarden.ledger/2", "ledger": {"boot_id": "boot", "what": 1}}', "can't be read"),
        (b'{"schema": "mountwarden.ledger/2", "ledger": {"boot_id": "boot", "entries": [["a", 1]]}}', "can't be read"),
        (b'{"schema": "mountwarden.ledger/2", "ledger": {"boot_id": "other"}}', "another boot"),
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


def test_a_ledger_that_would_be_too_large_keeps_what_matters_and_is_read_again() -> None:
    """Tried before reported before confirmed before the rest; of each the newest."""
    ones = many(40)
    state = Ledger("boot")
    for at in (0, 1):
        state, _ = update.update(state, ones[at * 20 :], Now(1e9 + at, at), CONFIG)
    entries = dict(state.entries)
    for number, one in enumerate(ones):
        if entry := entries.get(one.id):
            attempt = Attempt.FAILED if number == 20 else Attempt.NONE
            how = Reported.ALONE if number in (21, 22) else Reported.NO
            entries[one.id] = replace(entry, first=float(number), attempt=attempt, reported=how)
    state = replace(state, entries=entries, pending=(), gaps={"a: b": GapEntry(1.5, True)})
    whole = len(stored.dump(state))
    kept = []
    for limit in range(whole, 200, -150):
        data, left_out = stored.dumped(state, limit)
        assert len(data) <= limit
        read, why = stored.load(data, "boot")
        assert (why, read.entries.items() <= state.entries.items()) == (None, True)
        assert len(read.entries) + len(read.gaps) + len(read.bursts) + left_out == 21 + len(state.bursts)
        kept.append([number for number, one in enumerate(ones) if one.id in read.entries])
    assert kept[-1] == []
    assert next(some for some in kept if len(some) == 1) == [20]
    assert next(some for some in kept if len(some) == 3) == [20, 21, 22]
    assert next(some for some in kept if len(some) == 4) == [20, 21, 22, 39]


@pytest.mark.long
def test_a_hundred_thousand_findings_never_come_back_as_none() -> None:
    ones = many(100_000)
    state, _ = update.update(Ledger("boot"), ones, Now(1e9, 0), CONFIG)
    data, left_out = stored.dumped(state)
    read, why = stored.load(data, "boot")
    assert (why, len(read.entries) + left_out) == (None, 100_000)
    assert len(read.entries) > 10_000
