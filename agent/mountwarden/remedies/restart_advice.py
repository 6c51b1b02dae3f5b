"""What operators can do themselves: end or restart what holds a mount, the least disturbing way first. Pure.

mountwarden never does any of it. A command holds only pids and unit names of systemd's own character set.
"""

from collections.abc import Iterable, Sequence

from ..escape import printable, unit_name, unit_word
from ..model import Action, Evidence, Finding, Holder, Kind, Remedy

_WHY = {
    Kind.LEAKED: "gives it a new namespace",
    Kind.SEVERED: "gives it a new namespace, which umounts on the host reach again",
    Kind.STACKED: "gives it a new namespace without the stack",
    Kind.PINNED: "closes what it holds open",
    Kind.ORPHANED: "ends the processes on the layer",
}
_MOST = 20
"""Processes that one command names."""


def advice(finding: Finding) -> list[Remedy]:
    """One remedy for each unit, container or group of processes that holds it; fewest processes first."""
    if finding.kind not in _WHY or (finding.kind is Kind.LEAKED and finding.evidence is Evidence.CLAIMED):
        return []
    if _stays(finding):
        return []
    groups: dict[tuple[str, str], list[Holder]] = {}
    for holder in finding.holders:
        groups.setdefault(_group(holder), []).append(holder)
    if finding.kind in (Kind.LEAKED, Kind.SEVERED):
        # Their namespace ends with its processes; a session or a bare process can't be restarted.
        groups = {key: held for key, held in groups.items() if key[0] != "process"}
    ordered = sorted(groups.items(), key=lambda item: (_ORDER[item[0][0]], len(item[1]), item[0][1]))
    return [_remedy(finding, kind, name, held) for (kind, name), held in ordered]


def _stays(finding: Finding) -> bool:
    """Whether it is home's own, or process 1 has a part in it: home stays, and the host ends with process 1."""
    return finding.home in finding.namespaces or any(holder.pid == 1 for holder in finding.holders)


_ORDER = {"service": 0, "user": 1, "process": 2, "container": 3}


def _group(holder: Holder) -> tuple[str, str]:
    if holder.container:
        return "container", holder.container
    if holder.user_unit and holder.user_unit.endswith(".service"):
        return "user", holder.user_unit
    if holder.unit and holder.unit.endswith(".service") and not holder.unit.startswith("user@"):
        return "service", holder.unit
    return "process", holder.unit or ""


def _remedy(finding: Finding, kind: str, name: str, held: Sequence[Holder]) -> Remedy:
    what, command = _WHAT[kind](finding, name, held)
    tail = f" (it holds {_listed(held)})" if finding.kind in (Kind.PINNED, Kind.ORPHANED) and kind != "process" else ""
    return Remedy(Action.RESTART, False, f"{what} {_WHY[finding.kind]}{tail}", command)


def _service(_finding: Finding, name: str, _held: Sequence[Holder]) -> tuple[str, str | None]:
    word = unit_word(name)
    return "restarting the service", f"systemctl restart {word}" if word else None


def _user_service(_finding: Finding, name: str, held: Sequence[Holder]) -> tuple[str, str | None]:
    user, word = held[0].user, unit_word(name)
    command = f"systemctl --user --machine={user}@.host restart {word}" if word and user is not None else None
    return f"restarting {unit_name(name)} of user {user}", command


def _container(finding: Finding, _name: str, held: Sequence[Holder]) -> tuple[str, str | None]:
    if finding.kind is not Kind.ORPHANED:
        return "restarting the container", None
    scope = held[0].unit or ""
    word = unit_word(scope) if scope.endswith(".scope") else None
    return "stopping what is left of the container", f"systemctl stop {word}" if word else None


def _processes(finding: Finding, name: str, held: Sequence[Holder]) -> tuple[str, str | None]:
    within = f" of {unit_name(name)}" if name else ""
    pids = " ".join(str(holder.pid) for holder in held[:_MOST])
    return f"ending {_listed(held)}{within}", f"kill {pids}" if finding.kind is not Kind.STACKED else None


_WHAT = {"service": _service, "user": _user_service, "container": _container, "process": _processes}


def _listed(held: Iterable[Holder]) -> str:
    named = [f"process {holder.pid} ({printable(holder.comm)})" for holder in held]
    return ", ".join(named[:3]) + (f" and {len(named) - 3} more" if len(named) > 3 else "")
