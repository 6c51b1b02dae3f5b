"""Who wrote an entry of the journal that looks like ours, by the fields that journald itself adds. Pure.

Whatever reaches journald's socket, a container that has it mounted too, can send any field but those that begin with an
underscore: these are journald's own, from the sender's credentials and /proc, systemd.journal-fields(7). An entry whose
sender ended before journald looked lacks most of them, and is not taken for ours.
"""

import re
from collections.abc import Callable, Mapping

from ..escape import printable, raw, unit_name
from . import OWN_UNIT
from .cgroups import place

NEEDED = (
    *("_UID", "_AUDIT_LOGINUID", "_PID", "_COMM", "_CMDLINE", "_CAP_EFFECTIVE"),
    *("_SYSTEMD_UNIT", "_SYSTEMD_CGROUP"),
)
"""The fields of journald that this asks for."""

_SESSION = re.compile(r"user-\d+\.slice/session-[a-z]*\d+\.scope")
_TRANSIENT = re.compile(r"run-[^/]+\.scope")
"""systemd-run(1) --scope. Scopes of all other names are taken for containers: each engine names its own."""
_SYS_ADMIN = 21
"""capabilities(7): what no action can do without, and what a container has where it was given it alone."""
_NO_ID = "4294967295"
_LONGEST = 80
"""Characters of a command line."""


def ours(fields: Mapping[str, str]) -> bool:
    """Whether the service, or a command that root ran on the host and in no container, wrote the entry."""
    return from_service(fields) or _from_command(fields)


def from_service(fields: Mapping[str, str]) -> bool:
    """Whether a process of mountwarden.service wrote it."""
    return _root(fields) and _unit(fields) == OWN_UNIT


def who(fields: Mapping[str, str], name: Callable[[int], str | None]) -> str:
    """Who ran the command that wrote it, with what, and where; `name` gives a user's name."""
    login = fields.get("_AUDIT_LOGINUID", _NO_ID)
    user = int(fields["_UID"] if login == _NO_ID or not login.isdecimal() else login)
    called = f"uid {user}" if (known := name(user)) is None else f"{printable(known)} (uid {user})"
    command, comm = _command(fields.get("_CMDLINE", "")), printable(fields.get("_COMM", "-"))
    process = f"{unit_name(fields['_SYSTEMD_UNIT'])}, pid {fields.get('_PID', '-')} ({comm})"
    return f"{called}{f' with {command}' if command else ''}, in {process}"


def _from_command(fields: Mapping[str, str]) -> bool:
    try:
        able = int(fields.get("_CAP_EFFECTIVE", "0"), 16) >> _SYS_ADMIN & 1
    except ValueError:
        return False
    return bool(able) and _root(fields) and _unit(fields) not in (None, OWN_UNIT)


def _root(fields: Mapping[str, str]) -> bool:
    return fields.get("_UID") == "0"


def _unit(fields: Mapping[str, str]) -> str | None:
    """The service, login session or systemd-run scope of the host that the sender was right in, not in a group below.

    What a unit has below it are the cgroups of containers, of machines, and of a user's own systemd.
    """
    path, unit = fields.get("_SYSTEMD_CGROUP", "").lstrip("/"), fields.get("_SYSTEMD_UNIT", "")
    *slices, last = path.split("/")
    names = place(b"0::/" + raw(path))
    if names.container or last != unit or names.unit != unit or not all(part.endswith(".slice") for part in slices):
        return None
    if unit.endswith(".service"):
        return None if unit.startswith("user@") else unit
    return unit if _SESSION.search(path) or _TRANSIENT.fullmatch(last) else None


def _command(line: str) -> str:
    """The command line from our program's name on, without the interpreter."""
    words = line.split()
    first = next((at for at, word in enumerate(words) if word.rpartition("/")[2] == "mountwarden"), 0)
    text = " ".join([words[first].rpartition("/")[2], *words[first + 1 :]]) if words else ""
    return printable(text if len(text) <= _LONGEST else text[:_LONGEST] + "…")
