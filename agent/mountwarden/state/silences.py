"""Silences that an operator's command adds, by id. Ids are valid for one boot, and so is their file, in /run.

A silence for longer is a `[[silence]]` of the configuration, by unit, root or kind.
"""

import json
from collections.abc import Iterable
from dataclasses import replace

from ..config.schema import Config, Silence
from . import clock, run_directory
from .run_directory import RunDirectory

SCHEMA = "mountwarden.silences/1"


def read(run: RunDirectory) -> tuple[Silence, ...]:
    """The silences of this boot. A file that can't be read or understood silences nothing."""
    try:
        data = run_directory.read(run.silences)
        document = json.loads(data) if data else {}
        if document.get("schema") != SCHEMA:
            return ()
        moved = clock.moved(document.get("booted"))
        rows = document["silences"]
        return tuple(Silence(str(one["reason"]), float(one["until"]) + moved, str(one["id"])) for one in rows)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return ()


def write(run: RunDirectory, silences: Iterable[Silence], now: float) -> None:
    """Replace the silences; those that are over at `now`, in seconds since the Epoch, are dropped.

    Raises: TooLarge where it would not be read again, and nothing be silenced; MountwardenError where something is
    mounted over the directory; OSError.
    """
    run_directory.require_uncovered(run)
    kept = [{"id": one.id, "until": one.until, "reason": one.reason} for one in silences if (one.until or 0) > now]
    document = {"schema": SCHEMA, "booted": clock.booted(), "silences": kept}
    run_directory.write(run.silences, json.dumps(document).encode() + b"\n")


def merged(config: Config, run: RunDirectory) -> Config:
    """The configuration with the silences of this boot, as the service and every command use it."""
    own = read(run)
    return replace(config, silences=config.silences + own) if own else config
