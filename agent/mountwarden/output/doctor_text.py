"""The examination of `mountwarden doctor`: its JSON document as types, and as text."""

from collections.abc import Iterable
from typing import TypedDict

from ..report.types import CauseJson, HolderJson, HostJson
from .columns import count, pad, width, wrap
from .terminal import Terminal

SCHEMA = "mountwarden.doctor/1"

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}
_LONGEST_STATUS = 4


class CheckJson(TypedDict):
    id: str
    group: str
    status: str
    text: str
    hint: str | None


class InterfaceJson(TypedDict):
    name: str
    available: bool
    errno: str | None
    needed: bool
    meaning: str


class ExposureJson(TypedDict):
    root: str
    engine: str
    at: str
    mount_id: int
    peer_group: int | None
    master: int | None
    copies: int


class NextLeakJson(TypedDict):
    namespace: int
    kind: str
    who: str
    holders: list[HolderJson]
    leaks: int
    on_purpose: bool
    sights: list[ExposureJson]
    cause: CauseJson | None
    fix: str | None


class EngineRootJson(TypedDict):
    path: str
    engine: str
    kind: str
    status: str
    propagation: str | None


class EngineRunningJson(TypedDict):
    engine: str
    of: str
    user: int | None
    container: str | None
    processes: list[HolderJson]
    count: int
    roots: list[EngineRootJson]


class UnguardedPatternJson(TypedDict):
    directory: str
    patterns: list[str]
    fstypes: list[str]
    mounts: int


class UnguardedJson(TypedDict):
    directory: str
    mounts: int
    processes: list[HolderJson]
    layouts: list[UnguardedPatternJson]
    entry: str | None
    replaces: list[str]


class CanaryJson(TypedDict):
    done: bool
    held_by: str
    text: str | None
    mount_seconds: float
    find_seconds: float
    detach_seconds: float


class DoctorJson(TypedDict):
    schema: str
    version: str
    taken: str
    host: HostJson
    root: bool
    tier: str | None
    tier_reason: str | None
    superblock_test: str | None
    superblock_test_reason: str | None
    status: str
    checks: list[CheckJson]
    interfaces: list[InterfaceJson]
    engines: list[EngineRunningJson]
    unguarded: list[UnguardedJson]
    foreseen: list[NextLeakJson]
    canary: CanaryJson | None


def render(document: DoctorJson, terminal: Terminal) -> str:
    """The examination as text, ending in a newline: each line of it ends in ok, warn or fail."""
    lines: list[str] = []
    for group in dict.fromkeys(check["group"] for check in document["checks"]):
        lines += ["", terminal.paint(group, "bold")] if lines else [terminal.paint(group, "bold")]
        for check in document["checks"]:
            if check["group"] == group:
                lines += _check(check, terminal)
    return terminal.lines([*lines, "", _result(document, terminal)])


def _check(check: CheckJson, terminal: Terminal) -> Iterable[str]:
    room = terminal.columns - _LONGEST_STATUS - 1
    *most, last = wrap(check["text"], room, first="  ", rest="    ")
    yield from most
    status = terminal.paint(check["status"].rjust(_LONGEST_STATUS), _COLOURS[check["status"]])
    yield f"{pad(last, room)} {status}"
    for at, line in enumerate(check["hint"].split("\n") if check["hint"] else ()):
        start = f"    {terminal.glyph('→')} " if at == 0 else "      "
        # A line of a file, or a command of several words, is never wrapped: it is there to be pasted.
        if at or width(start) + width(line) <= terminal.columns:
            yield start + line
        else:
            yield from wrap(line, terminal.columns, first=start, rest="      ")


def _result(document: DoctorJson, terminal: Terminal) -> str:
    counts = {status: sum(check["status"] == status for check in document["checks"]) for status in _COLOURS}
    parts = [f"{counts['ok']} ok", count(counts["warn"], "warning"), count(counts["fail"], "failure")]
    sign = terminal.glyph("✓" if document["status"] == "ok" else "●" if document["status"] == "warn" else "✗")
    return terminal.paint(f"{sign} {', '.join(parts)}", _COLOURS[document["status"]])
