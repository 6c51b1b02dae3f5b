"""What the service of a test host has told in its journal, and when it has looked."""

import datetime
import json
import time
from typing import Any

from tests.support.machine import Machine
from tests.support.wait import wait_until

DECLINED = "8446b1f68def4a4495c5d50be698be8d"
"""The message id of an action that was declined: nothing was done, and it is tried again while the finding lasts."""


def events(host: Machine, kind: str, *matches: str) -> list[dict[str, Any]]:
    """The service's entries of that kind, such as `found`, oldest first; `matches` as journalctl takes them."""
    return host.journal("SYSLOG_IDENTIFIER=mountwarden", f"MOUNTWARDEN_EVENT={kind}", *matches)


def at(entry: dict[str, Any]) -> float:
    """When the entry came to the journal, in seconds since the Epoch."""
    return float(entry["__REALTIME_TIMESTAMP"]) / 1e6


def values(entry: dict[str, Any], name: str) -> list[str]:
    """A field with several values is a list, one with one is none."""
    value = entry.get(name, [])
    return value if isinstance(value, list) else [value]


def not_done(host: Machine) -> list[str]:
    """What the service failed to do, and what it declined and did not do later. Other entries of things gone wrong too.

    A decline that is tried again and then done is how it should be: what could not be read then was read later.
    """
    done = {entry["MOUNTWARDEN_FINDING"]: at(entry) for entry in events(host, "acted")}
    wrong = [entry for kind in ("failed", "summary", "left-alone") for entry in events(host, kind)]
    return [
        entry["MESSAGE"]
        for entry in wrong
        if entry["MESSAGE_ID"] != DECLINED or done.get(entry["MOUNTWARDEN_FINDING"], 0.0) < at(entry)
    ]


def await_look(host: Machine, moment: float | None = None) -> None:
    """Wait until the service has looked after that moment (seconds since the Epoch), by default after now."""
    after = time.time() if moment is None else moment

    def looked() -> bool:
        text = host.run("cat", "/run/mountwarden/report.json", check=False).stdout
        return bool(text) and datetime.datetime.fromisoformat(json.loads(text)["taken"]).timestamp() > after

    wait_until(looked, 60, "the service looked")
