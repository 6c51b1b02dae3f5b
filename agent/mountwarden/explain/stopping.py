"""Which command ends what a process belongs to: a unit, of PID 1's or of a user's own systemd, a session, a machine.

Pure. A command holds only names of systemd's own character set.
"""

import re
from dataclasses import dataclass

from ..escape import printable, unit_name, unit_word
from ..model import Holder

_USER = re.compile(r"user@(\d+)\.service")
_SESSION = re.compile(r"session-([A-Za-z0-9]+)\.scope")
_MACHINE = re.compile(r"machine-.+\.scope|systemd-nspawn@.+\.service")


def manager_of(holder: Holder) -> int | None:
    """The uid of the user whose systemd this process is; None for any other process."""
    return user_of(holder) if holder.user_unit == "init.scope" else None


def user_of(holder: Holder) -> int | None:
    """The uid of the user whose systemd has the process in a unit; its own uid may differ."""
    match = _USER.fullmatch(holder.unit or "")
    return int(match[1]) if match else None


def is_in_session(holder: Holder) -> bool:
    """Whether it is in a session of a user, with which everything ends that the user does there."""
    return _SESSION.fullmatch(holder.unit or "") is not None


def systemctl(verb: str, unit: str, user: int | None = None) -> str | None:
    """systemctl(1) for a unit, of that user's own systemd; None where its name can't be pasted into a shell."""
    word = unit_word(unit)
    of_user = "" if user is None else f"--user --machine={user}@.host "
    return f"systemctl {of_user}{verb} {word}" if word else None


@dataclass(frozen=True, slots=True)
class Stop:
    """What would end a process with all that belongs to it."""

    words: str
    """As a part of a sentence: "stop web.service"."""
    command: str | None
    """None where a name can't be pasted into a shell."""


def stop(holder: Holder, *, restart: bool = False) -> Stop | None:
    """What ends the process with its unit, session or machine, and with `restart` starts its service again.

    None where that would be the host or a user's systemd as a whole, an engine's container, or nothing that has a name.
    """
    unit, user = holder.user_unit or holder.unit or "", user_of(holder)
    if holder.container:
        word = unit_word(holder.container) if _MACHINE.fullmatch(holder.unit or "") else None
        return Stop(f"stop machine {printable(holder.container)}", f"machinectl terminate {word}") if word else None
    if (user is not None and not holder.user_unit) or unit == "init.scope":
        return None
    if match := _SESSION.fullmatch(unit):
        return Stop(f"end session {match[1]}", f"loginctl terminate-session {match[1]}")
    verb = "restart" if restart and unit.endswith(".service") else "stop"
    if not unit.endswith((".service", ".scope", ".socket", ".mount", ".swap")):
        return None
    return Stop(f"{verb} {named(unit, user)}", systemctl(verb, unit, user))


def named(unit: str, user: int | None) -> str:
    """A unit in a sentence, with the user whose systemd has it."""
    return unit_name(unit) + ("" if user is None else f" of user {user}")
