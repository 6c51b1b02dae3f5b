"""One line of the examination."""

import enum
from dataclasses import dataclass


class Status(enum.StrEnum):
    """The result of one line."""

    OK = "ok"
    WARN = "warn"
    """It works, and something is worth doing."""
    FAIL = "fail"
    """Something does not work."""


@dataclass(frozen=True, slots=True)
class Check:
    """What was examined, and what it means. Text of the host in it is escaped already."""

    id: str
    """Stable; several checks of one sort share it."""
    group: str
    """The heading that it stands under."""
    status: Status
    text: str
    hint: str | None = None
    """What to do; may have several lines."""
