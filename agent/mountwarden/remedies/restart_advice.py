"""What operators can do themselves: end or restart what holds a mount, the least disturbing way first. Pure.

mountwarden never does any of it. A command holds only pids and unit names of systemd's own character set.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..escape import printable, unit_name, unit_word
from ..explain import stopping
from ..model import Action, Evidence, Finding, FoundCopy, Holder, Kind, Remedy

_WHY = {
    Kind.LEAKED: "gives it a new namespace",
    Kind.SEVERED: "gives it a new namespace, which umounts on the host reach again",
    Kind.STACKED: "gives it a new namespace without the stack",
    Kind.PINNED: "closes what it holds open",
    Kind.ORPHANED: "ends the processes on the layer",
}
_MOST = 20
"""Processes that one command names."""


_UNITS = 5
"""Remedies for one finding: the least disturbing ones."""

_Group = tuple[str, str]
"""Its kind, and its name."""


def advice(finding: Finding) -> list[Remedy]:
    """One remedy for each unit, container or group of processes that holds it; fewest processes first."""
    if finding.kind not in _WHY or (finding.kind is Kind.LEAKED and finding.evidence is Evidence.CLAIMED):
        return []
    copies = [copy for copy in _own(finding) if not copy.given]
    groups: dict[_Group, list[Holder]] = {}
    spaces: Counter[_Group] = Counter()
    for copy in copies:
        for holder in copy.holders:
            if not holder.at_home:
                groups.setdefault(_group(holder), []).append(holder)
        spaces.update(set(map(_group, copy.holders)))
    stay = {_group(holder) for copy in copies for holder in copy.holders if _stays(finding, copy, holder)}
    left = {key: held for key, held in groups.items() if key not in stay}
    if finding.kind in (Kind.LEAKED, Kind.SEVERED):
        # Their namespace ends with its processes; a session or a bare process can't be restarted.
        left = {key: held for key, held in left.items() if key[0] != "process"}
    ordered = sorted(left.items(), key=lambda item: (_ORDER[item[0][0]], len(item[1]), item[0][1]))
    named = [_remedy(finding, key, held, _of(spaces[key], finding)) for key, held in ordered[:_UNITS]]
    if len(ordered) > _UNITS:
        named[-1] = replace(named[-1], reason=f"{named[-1].reason}; and {len(ordered) - _UNITS} more hold it")
    return [*named, *_in_use(finding), *_of_home(finding)]


def _in_use(finding: Finding) -> list[Remedy]:
    """For what was given on purpose: to stop who uses it, and nothing that takes it from under a running program."""
    stays = {
        copy.given: any(_stays(finding, copy, holder) for holder in copy.holders)
        for copy in finding.copies
        if copy.given
    }
    return [
        Remedy(
            Action.RESTART,
            False,
            f"{given.by} was given it as {printable(given.point)} and uses it until it is stopped",
            None if stay else given.stop,
        )
        for given, stay in stays.items()
    ]


def _of_home(finding: Finding) -> list[Remedy]:
    """Nothing of a home is advised to be ended or started anew; who has something open there is said all the same."""
    held = [holder for holder in finding.holders if holder.at_home]
    if finding.kind is not Kind.PINNED or not held:
        return []
    text = f"{_listed(held)} must close what is open there; it is in the mount namespace of the host or an engine"
    return [Remedy(Action.RESTART, False, text, None)]


def _own(finding: Finding) -> list[FoundCopy]:
    """The copies that the finding proves: what else is on the spot of a leak is nobody's fault."""
    if finding.target is None or finding.kind is not Kind.LEAKED:
        return list(finding.copies)
    proven = {(copy.namespace, copy.mount.id) for copy in finding.target.proven}
    return [copy for copy in finding.copies if (copy.namespace, copy.mount_id) in proven]


def _stays(finding: Finding, copy: FoundCopy, holder: Holder) -> bool:
    """Whether its unit has a part in home, or process 1 in the copy: home stays, and the host ends with process 1."""
    if copy.namespace is not None and copy.namespace == finding.home:
        return True
    return any(one.pid == 1 for one in copy.holders) or (holder.at_home and _group(holder)[0] != "process")


def _of(spaces: int, finding: Finding) -> str:
    """What part of it that frees, where others hold it too."""
    if finding.spaces <= 1:
        return ""
    return f", {spaces} of the {finding.spaces:,} namespaces that hold it"


_ORDER = {"service": 0, "user": 1, "process": 2, "container": 3}


def _group(holder: Holder) -> _Group:
    if holder.container:
        return "container", holder.container
    if holder.user_unit and holder.user_unit.endswith(".service"):
        return "user", holder.user_unit
    if holder.unit and holder.unit.endswith(".service") and not holder.unit.startswith("user@"):
        return "service", holder.unit
    return "process", holder.user_unit or holder.unit or ""


def _remedy(finding: Finding, group: _Group, held: Sequence[Holder], part: str) -> Remedy:
    kind, name = group
    what, command = _WHAT[kind](finding, name, held)
    tail = f" (it holds {_listed(held)})" if finding.kind in (Kind.PINNED, Kind.ORPHANED) and kind != "process" else ""
    return Remedy(Action.RESTART, False, f"{what} {_WHY[finding.kind]}{tail}{part}", command)


def _service(_finding: Finding, name: str, _held: Sequence[Holder]) -> tuple[str, str | None]:
    word = unit_word(name)
    return "restarting the service", f"systemctl restart {word}" if word else None


def _user_service(_finding: Finding, name: str, held: Sequence[Holder]) -> tuple[str, str | None]:
    user = stopping.user_of(held[0])  # the process itself may have another uid
    return f"restarting {stopping.named(name, user)}", stopping.systemctl("restart", name, user)


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
