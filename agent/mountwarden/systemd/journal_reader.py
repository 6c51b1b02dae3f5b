"""The service's entries of the journal: those that root wrote, oldest first."""

import json
import subprocess
from collections.abc import Sequence
from typing import Any

from ..errors import MountwardenError
from ..escape import printable, timestamp
from .journal import IDENTIFIER, PREFIX

DEADLINE = 60.0
"""Seconds that journalctl gets."""

# journald alone sets _UID; anybody may write an entry that looks like ours.
_OURS = ("_UID=0", f"SYSLOG_IDENTIFIER={IDENTIFIER}")


def read(words: Sequence[str], *, deadline: float = DEADLINE) -> list[dict[str, Any]]:
    """The entries that journalctl shows for these options and matches. Raises: MountwardenError where it can't."""
    command = ["journalctl", "--no-pager", "--quiet", "--all", "--output=json", *_OURS, *words]
    try:
        done = subprocess.run(command, capture_output=True, timeout=deadline, check=False, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise MountwardenError("there is no journalctl here", hint="history reads systemd's journal") from None
    except subprocess.TimeoutExpired:
        raise MountwardenError(f"the journal gave no answer within {deadline:g} s") from None
    if done.returncode and not done.stdout:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        if said:
            raise MountwardenError(
                f"journalctl: {printable(said[0])}", hint="reading it needs root or the group systemd-journal"
            )
    lines = done.stdout.decode(errors="replace").splitlines()
    return [entry(json.loads(line)) for line in lines if line.startswith("{")]


def of_finding(finding: str, *, deadline: float = 5.0) -> list[dict[str, Any]] | None:
    """This boot's entries about one finding, those of storms that name it included; None where nothing can be read."""
    summary = (f"{PREFIX}EVENT=summary", *_OURS)
    try:
        found = read(("--boot", f"{PREFIX}FINDING={finding}", "+", *summary), deadline=deadline)
    except MountwardenError:
        return None
    return [one for one in found if one.get("finding") == finding or finding in str(one.get("findings", "")).split()]


def entry(fields: dict[str, Any]) -> dict[str, Any]:
    """One entry: the time, the well-known fields, and all of ours by their lower-case names."""
    own = {name.removeprefix(PREFIX).lower(): _text(value) for name, value in fields.items() if name.startswith(PREFIX)}
    return {
        "at": timestamp(int(fields["__REALTIME_TIMESTAMP"]) / 1e6),
        "event": own.pop("event", None),
        "message": _text(fields.get("MESSAGE", "")),
        "unit": _text(fields["UNIT"]) if "UNIT" in fields else None,
        **dict(sorted(own.items())),
    }


def _text(value: object) -> str:
    """journalctl gives bytes that are no UTF-8 as a list of numbers, and a repeated field as a list of values."""
    if isinstance(value, list):
        return (
            bytes(value).decode("utf-8", "surrogateescape")
            if all(type(n) is int for n in value)
            else " ".join(map(_text, value))
        )
    return str(value)
