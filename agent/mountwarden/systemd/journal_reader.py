"""Reading the journal with journalctl: the entries of ours that root wrote, oldest first."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import MountwardenError
from ..escape import printable, timestamp
from .journal import IDENTIFIER, PREFIX

DEADLINE = 60.0
"""Seconds that journalctl gets."""

# journald alone sets _UID; anybody may write an entry that looks like ours.
_OURS = ("_UID=0", f"SYSLOG_IDENTIFIER={IDENTIFIER}")


def command(*words: str) -> list[str]:
    """The command line that prints our entries, a line of JSON each; `words` are further options and matches."""
    return ["journalctl", "--no-pager", "--quiet", "--all", "--output=json", *_OURS, *words]


def read(words: Sequence[str], *, deadline: float = DEADLINE) -> list[dict[str, Any]]:
    """The entries that journalctl shows for these options and matches, within `deadline` seconds.

    Raises: MountwardenError where journalctl is not there, gives no answer in time, or can't read the journal.
    """
    done = _run(command(*words), deadline)
    if done.returncode and not done.stdout:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        if said:
            raise MountwardenError(
                f"journalctl: {printable(said[0])}", hint="reading it needs root or the group systemd-journal"
            )
    return [entry(fields(line)) for line in done.stdout.splitlines() if line.startswith(b"{")]


def sync(*, deadline: float = DEADLINE) -> bool:
    """Wait at most `deadline` seconds until what was sent to journald can be read; whether it can."""
    try:
        return _run(["journalctl", "--sync"], deadline).returncode == 0
    except MountwardenError:
        return False


def _run(words: list[str], deadline: float) -> "subprocess.CompletedProcess[bytes]":
    try:
        return subprocess.run(words, capture_output=True, timeout=deadline, check=False, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise MountwardenError("there is no journalctl here", hint="history reads systemd's journal") from None
    except OSError as error:
        raise MountwardenError(f"journalctl can't be run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise MountwardenError(f"the journal gave no answer within {deadline:g} s") from None


def of_finding(finding: str, *, deadline: float = 5.0) -> list[dict[str, Any]] | None:
    """This boot's entries about one finding, also summaries that include it; None where the journal can't be read."""
    summary = (f"{PREFIX}EVENT=summary", *_OURS)
    try:
        found = read(("--boot", f"{PREFIX}FINDING={finding}", "+", *summary), deadline=deadline)
    except MountwardenError:
        return None
    return [one for one in found if one.get("finding") == finding or finding in str(one.get("findings", "")).split()]


def fields(line: bytes) -> dict[str, str]:
    """The fields of an entry, as journalctl prints it in a line of JSON."""
    return {name: _text(value) for name, value in json.loads(line).items()}


def entry(fields: Mapping[str, str]) -> dict[str, Any]:
    """One entry: the time, the well-known fields, and all of ours by their lower-case names."""
    own = {name.removeprefix(PREFIX).lower(): value for name, value in fields.items() if name.startswith(PREFIX)}
    return {
        "at": timestamp(int(fields["__REALTIME_TIMESTAMP"]) / 1e6),
        "event": own.pop("event", None),
        "message": fields.get("MESSAGE", ""),
        "unit": fields.get("UNIT"),
        **dict(sorted(own.items())),
    }


def _text(value: object) -> str:
    """A field's text. Bytes that are not UTF-8 are a list of numbers; of a repeated field, a list, the first counts."""
    if isinstance(value, list):
        if value and not all(type(item) is int for item in value):
            return _text(value[0])
        return bytes(value).decode("utf-8", "surrogateescape")
    return value if isinstance(value, str) else ""
