"""The service's real entries: each carries what its catalog entry speaks of, and a storm is one entry."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mountwarden.output import journal_messages

from tests.support.leaks import CONFIG, ROOT, Leaks
from tests.support.machine import Machine
from tests.support.wait import wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(180)]

CATALOG = Path(__file__).parents[2] / "packaging/catalog/mountwarden.catalog"
OURS = "SYSLOG_IDENTIFIER=mountwarden"
MANY = 30


@pytest.fixture
def leaks(host: Machine) -> Iterator[Leaks]:
    """Leaks below a shared root of one's own, beside the running service, which acts."""
    made = Leaks(host)
    made.prepare()
    host.run("mount", "--make-shared", ROOT)
    host.write("/etc/mountwarden/mountwarden.toml", CONFIG)
    host.run("systemctl", "start", "mountwarden")
    yield made
    made.clean()
    host.run("systemctl", "stop", "mountwarden")


def events(host: Machine, event: str, *matches: str) -> list[dict[str, Any]]:
    return host.journal(OURS, f"MOUNTWARDEN_EVENT={event}", *matches)


def await_event(host: Machine, event: str, *matches: str) -> dict[str, Any]:
    wait_until(lambda: events(host, event, *matches), 30, f"a {event} entry")
    return events(host, event, *matches)[-1]


def told(host: Machine, event: str, layers: list[str]) -> tuple[list[str], list[str]]:
    """Ids of the layers' leaks that had this event: each in an entry of its own, and in summaries."""
    mountpoints = {f"{layer}/merged" for layer in layers}
    singly = [one for one in events(host, event) if one["MOUNTWARDEN_MOUNTPOINT"] in mountpoints]
    summaries = events(host, "summary", f"MOUNTWARDEN_SUMMARY_OF={event}")
    summed = [one for entry in summaries for one in entry["MOUNTWARDEN_FINDINGS"].split()]
    assert [len(one["MOUNTWARDEN_FINDINGS"].split()) for one in summaries] == [
        int(one["MOUNTWARDEN_COUNT"]) for one in summaries
    ]
    return [one["MOUNTWARDEN_FINDING"] for one in singly], summed


def spoken_of() -> dict[str, set[str]]:
    """For each message id, the fields that the catalog's text names."""
    parts = re.split(r"^-- ([0-9a-f]{32})\n", CATALOG.read_text(), flags=re.MULTILINE)
    return {key: set(re.findall(r"@([A-Z_]+)@", text)) for key, text in zip(parts[1::2], parts[2::2], strict=True)}


def copies_seen(host: Machine) -> int:
    """How many live copies the service's last report has as severed."""
    text = host.run("cat", "/run/mountwarden/report.json", check=False).stdout
    findings = json.loads(text)["findings"] if text else []
    return sum(one["count"] for one in findings if one["kind"] == "severed")


def lacking(entries: list[dict[str, Any]]) -> list[tuple[str, set[str]]]:
    """Entries without a field that their catalog entry speaks of, and which."""
    wanted = spoken_of()
    ours = [one for one in entries if one.get("MESSAGE_ID") in wanted]
    assert ours
    sent = [(one, {name for name, value in one.items() if value}) for one in ours]
    return [
        (one["MESSAGE"], wanted[one["MESSAGE_ID"]] - names) for one, names in sent if wanted[one["MESSAGE_ID"]] - names
    ]


def test_what_the_catalog_speaks_of_is_sent(host: Machine, leaks: Leaks) -> None:
    host.run("mountwarden", "pause", "--reason", "a migration")
    await_event(host, "paused")
    host.run("mountwarden", "resume")
    await_event(host, "resumed")
    host.write("/etc/mountwarden/mountwarden.toml", 'mode = "obsreve"\n')
    await_event(host, "config-kept")
    host.write("/etc/mountwarden/mountwarden.toml", CONFIG)
    for name, spoil in ((r"told\x2dacted", ""), ("told-declined", "touch {}/merged/data")):
        layer = leaks.mount()
        unit = host.unit(name, "PrivateTmp=yes", "MountFlags=private")
        leaks.units.add(unit)
        wait_until(lambda: copies_seen(host) > 0, 30, "the service has seen the copy")
        host.run("sh", "-c", f"umount {layer}/merged && {spoil.format(layer) or 'true'}")
        await_event(host, "failed" if spoil else "acted", f"MOUNTWARDEN_MOUNTPOINT={layer}/merged")
        leaks.end(unit)
        await_event(host, "cleared", f"MOUNTWARDEN_MOUNTPOINT={layer}/merged")
        assert await_event(host, "found", f"--unit={unit}")["MOUNTWARDEN_HOLDER"] == unit
    entries = host.journal(OURS, "_SYSTEMD_UNIT=mountwarden.service")
    by_id = {kind: [e for e in entries if e.get("MESSAGE_ID") == key] for kind, key in journal_messages.IDS.items()}
    seen = {str(kind) for kind, some in by_id.items() if some}
    assert seen >= {*("started", "found", "acted", "declined", "cleared", "paused", "resumed", "config-kept")}
    assert lacking(entries) == []


def test_a_storm_is_one_entry_and_every_finding_is_in_it(host: Machine, leaks: Leaks) -> None:
    host.write("/etc/mountwarden/mountwarden.toml", 'mode = "observe"\n' + CONFIG)
    host.run("systemctl", "reload", "mountwarden")
    layers = [leaks.mount() for _ in range(MANY)]
    unit = host.unit("storm", "PrivateTmp=yes", "MountFlags=private")
    host.run("umount", *(f"{layer}/merged" for layer in layers))
    wait_until(lambda: sum(map(len, told(host, "found", layers))) == MANY, 30, "all are told")
    singly, summed = told(host, "found", layers)
    assert len({*singly, *summed}) == MANY, "nobody twice, nobody lost"
    assert len(singly) <= 20 < MANY <= len(singly) + len(summed)
    story = host.run("mountwarden", "explain", summed[0], check=False).stdout
    assert re.search(r"one of \d+ in one entry \(journal\)", " ".join(story.split()))
    assert lacking(events(host, "summary")) == []
    host.run("systemctl", "stop", unit)
    wait_until(lambda: sum(map(len, told(host, "cleared", layers))) == MANY, 30, "all are told to be over")
    assert {one for some in told(host, "cleared", layers) for one in some} == {*singly, *summed}
    past = host.run("mountwarden", "explain", summed[0]).stdout
    assert past.startswith(f"{summed[0]}  is over")
