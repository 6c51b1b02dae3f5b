"""A pause of all actions: a file that an operator's command writes and the service reads before each action.

It is in /run, so that it never outlives a boot. A file that can't be understood counts as a pause without end.
"""

import json
import time
from dataclasses import dataclass

from . import clock, run_directory
from .run_directory import RunDirectory

SCHEMA = "mountwarden.pause/1"


@dataclass(frozen=True, slots=True)
class Pause:
    """Since when, until when and why the service takes no action. Times are seconds since the Epoch.

    It ends as long after its begin as it was to, whatever the clock is set to.
    """

    since: float
    until: float | None = None
    """None: until it is resumed or the host is booted."""
    reason: str = ""


def read(run: RunDirectory, now: float) -> Pause | None:
    """The pause in force at `now`, in seconds since the Epoch; None when there is none."""
    try:
        data = run_directory.read(run.pause)
    except OSError as error:
        return Pause(now, None, f"{run.name(run.pause)} can't be read ({error.strerror or error})")
    if data is None:
        return None
    pause = _parsed(data)
    if pause is None:
        return Pause(now, None, f"{run.name(run.pause)} can't be understood")
    return pause if pause.until is None or now < pause.until else None


def write(run: RunDirectory, pause: Pause) -> None:
    """Pause. Raises: MountwardenError where something is mounted over the directory; OSError."""
    run_directory.require_uncovered(run)
    document: dict[str, object] = {"schema": SCHEMA, "since": pause.since, "until": pause.until, "reason": pause.reason}
    document["booted"] = clock.booted()
    run_directory.write(run.pause, json.dumps(document).encode() + b"\n")


def end(run: RunDirectory) -> Pause | None:
    """Resume; returns the pause that was in force. Raises: as `write`."""
    run_directory.require_uncovered(run)
    pause = read(run, time.time())
    run.pause.unlink(missing_ok=True)
    return pause


def _parsed(data: bytes) -> Pause | None:
    try:
        document = json.loads(data)
        if document["schema"] != SCHEMA:
            return None
        until, moved = document["until"], clock.moved(document.get("booted"))
        until = None if until is None else float(until) + moved
        return Pause(float(document["since"]) + moved, until, str(document["reason"]))
    except (ValueError, TypeError, KeyError):
        return None
