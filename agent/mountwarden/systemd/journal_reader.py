"""Reading the journal with journalctl: the service's entries and the host's commands', oldest first."""

import functools
import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any

from ..errors import MountwardenError
from ..escape import decoded, printable, timestamp
from ..files import read_regular
from . import OWN_UNIT, journal_origin
from .journal import IDENTIFIER, PREFIX

DEADLINE = 60.0
"""Seconds that journalctl gets."""
LONGEST = 1 << 20
"""Bytes of an entry, as JSON; ours are shorter, and a longer one is passed over."""

_LOOKS_LIKE_OURS = ("_UID=0", f"SYSLOG_IDENTIFIER={IDENTIFIER}")
_FROM_SERVICE = f"_SYSTEMD_UNIT={OWN_UNIT}"
_SHARE = 0.6
"""Of the time, for all entries that look like ours. What is left is for the service's own alone."""
_PASSWD = "/etc/passwd"


class TooSlow(MountwardenError):
    """The journal gave no answer in time."""


def command(*words: str) -> list[str]:
    """The command line that prints what looks like ours, a line of JSON each; `words` are more options and matches.

    Whose an entry is, `journal_origin.ours` says.
    """
    return ["journalctl", "--no-pager", "--quiet", "--all", "--output=json", *_LOOKS_LIKE_OURS, *words]


def of_service(*words: str) -> list[str]:
    """The same for what a process of mountwarden.service sent with fields, which `--lines` may count."""
    return command(_FROM_SERVICE, "_TRANSPORT=journal", *words)


def read(
    words: Sequence[str], *, deadline: float = DEADLINE, warn: Callable[[str], object] = lambda _text: None
) -> list[dict[str, Any]]:
    """Our entries among those that journalctl shows for these options and matches, within `deadline` seconds.

    Where there are so many that look like ours that it takes too long, the service's own alone, which `warn` is told.

    Raises: MountwardenError where journalctl is not there, gives no answer in time, or can't read the journal.
    """
    try:
        return _ours(command(*words), deadline * _SHARE)
    except TooSlow:
        warn("too many entries look like ours: only those of the service were read")
        alone = [
            part for word in words for part in ((word, *_LOOKS_LIKE_OURS, _FROM_SERVICE) if word == "+" else (word,))
        ]
        return _ours(command(_FROM_SERVICE, *alone), deadline * (1 - _SHARE))


def last_of_service(count: int, *, deadline: float) -> list[dict[str, Any]]:
    """The service's last entries. Raises: MountwardenError as `read` does."""
    return _ours(of_service(f"--lines={count}"), deadline)


def _ours(words: list[str], deadline: float) -> list[dict[str, Any]]:
    found = (fields(line) for line in _output(words, deadline) if line.startswith(b"{"))
    return [entry(one) for one in found if journal_origin.ours(one)]


def sync(*, deadline: float = DEADLINE) -> bool:
    """Wait at most `deadline` seconds until what was sent to journald can be read; whether it can."""
    try:
        done = subprocess.run(("journalctl", "--sync"), capture_output=True, timeout=deadline, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _output(words: list[str], deadline: float) -> Iterator[bytes]:
    """The lines that a command prints, as they come. Raises: MountwardenError."""
    end = time.monotonic() + deadline
    with tempfile.TemporaryFile() as errors, _started(words, errors) as process:
        printed = False
        try:
            assert process.stdout is not None
            for line in _lines(process.stdout.fileno(), end):
                printed = True
                yield line
            failed = process.wait(max(0.1, end - time.monotonic()))
        except (TooSlow, subprocess.TimeoutExpired):
            raise TooSlow(f"the journal gave no answer within {deadline:g} s") from None
        finally:
            process.kill()
        errors.seek(0)
        said = errors.read(LONGEST).decode(errors="replace").strip().splitlines()
        if failed and said and not printed:
            hint = "reading it needs root or the group systemd-journal"
            raise MountwardenError(f"journalctl: {printable(said[0])}", hint=hint)


def _started(words: list[str], errors: IO[bytes]) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)
    except FileNotFoundError:
        raise MountwardenError("there is no journalctl here", hint="history reads systemd's journal") from None
    except OSError as error:
        raise MountwardenError(f"journalctl can't be run: {error.strerror}") from None


def _lines(fd: int, end: float) -> Iterator[bytes]:
    """Lines of at most LONGEST bytes; longer ones are left out. Raises: TooSlow at the time `end`."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    rest, skipped = b"", False
    while poll.poll(max(0.0, end - time.monotonic()) * 1000) and time.monotonic() < end:
        if not (part := os.read(fd, 1 << 16)):
            return
        *whole, rest = (rest + part).split(b"\n")
        yield from whole[1:] if skipped else whole
        skipped = skipped and not whole
        if len(rest) > LONGEST:
            rest, skipped = b"", True
    raise TooSlow("")


def of_finding(finding: str, *, deadline: float = 5.0) -> list[dict[str, Any]] | None:
    """This boot's entries about one finding, also summaries that include it; None where the journal can't be read."""
    summary = (f"{PREFIX}EVENT=summary", *_LOOKS_LIKE_OURS)
    try:
        found = read(("--boot", f"{PREFIX}FINDING={finding}", "+", *summary), deadline=deadline)
    except MountwardenError:
        return None
    return [one for one in found if one.get("finding") == finding or finding in str(one.get("findings", "")).split()]


def fields(line: bytes) -> dict[str, str]:
    """The fields of an entry, as journalctl prints it in a line of JSON."""
    return {name: _text(value) for name, value in json.loads(line).items()}


def entry(fields: Mapping[str, str]) -> dict[str, Any]:
    """One entry: the time, the well-known fields, and all of ours by their lower-case names.

    `by` says who ran the command that wrote it, or whom the service answered; of what the service did itself, nothing.
    """
    own = {name.removeprefix(PREFIX).lower(): value for name, value in fields.items() if name.startswith(PREFIX)}
    if not journal_origin.from_service(fields):
        own["by"] = journal_origin.who(fields, _users().get)
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


@functools.cache
def _users() -> dict[int, str]:
    """Names of users by their ids, of this host's own file: another source may need the network."""
    try:
        lines = read_regular(_PASSWD, LONGEST).data.splitlines()
    except OSError:
        return {}
    parts = [line.split(b":") for line in reversed(lines)]
    return {int(part[2]): decoded(part[0]) for part in parts if len(part) == 7 and part[2].isdigit()}
