"""What scans have cost and time has not paid for yet. It lasts over restarts: none begins with a new burst."""

import json
from typing import NamedTuple

from . import run_directory
from .run_directory import RunDirectory

SCHEMA = "mountwarden.budget/1"


class Owed(NamedTuple):
    """What was owed at one moment."""

    debt: float
    """Seconds of processor time."""
    at: float
    """Seconds of CLOCK_BOOTTIME."""


def read(run: RunDirectory, boot_id: str, now: float) -> Owed | None:
    """What was owed when it was last written in this boot, before `now`; None where that is not known. Never raises."""
    try:
        document = json.loads(run_directory.read(run.budget) or b"")
        owed = Owed(float(document["debt"]), float(document["at"]))
        known = (document["schema"], document["boot_id"]) == (SCHEMA, boot_id)
        return owed if known and 0 <= owed.debt < _MOST and 0 <= owed.at <= now else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


_MOST = 1e6


def write(run: RunDirectory, boot_id: str, owed: Owed) -> None:
    """Replace it. Raises: OSError."""
    document = {"schema": SCHEMA, "boot_id": boot_id, "debt": round(owed.debt, 6), "at": round(owed.at, 3)}
    run_directory.write(run.budget, json.dumps(document).encode() + b"\n", run_directory.OWN)
