"""How an umount in home propagates to a copy: the mounts on both sides, and where it stops. Pure."""

from collections import Counter
from collections.abc import Iterable

from ..escape import printable
from ..explain.cause import Case, where_home_is
from ..explain.context import Context
from ..model import Finding, Kind, Mount, Reach
from ..mounts.mountinfo import propagation
from .types import ChainJson, GroupJson, LevelJson, SideJson


def chain(finding: Finding, around: Context) -> ChainJson | None:
    """Both sides of a finding that is a matter of propagation; None for the others, and where home was not seen."""
    case = Case(finding, around)
    if finding.kind not in (Kind.LEAKED, Kind.SEVERED) or case.home is None:
        return None
    at_home = _cut_at_home(case)
    why = _why(case, at_home=at_home)
    return {
        "home": _home(case, cut=at_home),
        "group": None,
        "holder": _holder(case, cut=why is not None and not at_home),
        "broken": why,
    }


def private_root(finding: Finding, home: Mount | None) -> ChainJson | None:
    """Home's side alone: no umount below a private root propagates."""
    if home is None:
        return None
    root = printable(finding.mountpoint)
    side: SideJson = {
        "who": "home",
        "namespace": finding.home,
        "levels": [_level(home, cut=True)],
        "mountpoint": root,
        "mount": None,
    }
    return {
        "home": side,
        "group": None,
        "holder": None,
        "broken": f"{printable(home.point)} is {propagation(home)} {where_home_is(finding.root)}",
    }


def _cut_at_home(case: Case) -> bool:
    return case.home is not None and not case.home.shared


def _why(case: Case, *, at_home: bool) -> str | None:
    """Where an umount in home stops, and why; None where it reaches the copy."""
    home, parent = case.home, case.parent
    if home is None or parent is None or case.finding.reached(Reach.PROPAGATION):
        return None
    if at_home:
        return f"{case.root} is {propagation(home)} {case.where}, so an umount there does not propagate"
    if home.shared in (parent.shared, parent.master):
        return None
    point, home_mount = printable(parent.point), f"{case.root} {case.where}"
    if parent.master:
        return f"{point} is a slave of peer group {parent.master}, and {home_mount} is in {home.shared}"
    if parent.shared:
        return f"{point} is in peer group {parent.shared}, without a master: {home_mount} is in {home.shared}"
    return f"{point} is {propagation(parent)}: it receives nothing from peer group {home.shared} of {home_mount}"


def _home(case: Case, *, cut: bool) -> SideJson:
    finding, home = case.finding, case.home
    mounted = finding.kind is Kind.SEVERED
    return {
        "who": "home",
        "namespace": finding.home,
        "levels": [_level(home, cut=cut)] if home else [],
        "mountpoint": printable(case.around.mountpoint or finding.mountpoint),
        "mount": f"{printable(finding.fstype.encode())}, mounted" if mounted else None,
    }


def _holder(case: Case, *, cut: bool) -> SideJson:
    finding, above = case.finding, case.around.above
    last = len(above) - 1
    levels = [_level(mount, cut=cut and at == last) for at, mount in enumerate(reversed(above))]
    number = "" if finding.first.mount_id is None else f", mount {finding.first.mount_id}"
    return {
        "who": case.subject,
        "namespace": finding.first.namespace,
        "levels": _folded(levels),
        "mountpoint": printable(finding.first.seen_at or finding.mountpoint),
        "mount": f"{printable(finding.fstype.encode())} {finding.device}{number}",
    }


def _level(mount: Mount, *, cut: bool) -> LevelJson:
    return {
        "point": printable(mount.point),
        "propagation": propagation(mount),
        "peer_group": mount.shared or None,
        "master": mount.master or None,
        "cut": cut,
    }


def _folded(levels: list[LevelJson]) -> list[LevelJson]:
    """A hostile namespace can be hundreds deep: the outermost and the last ones are kept."""
    return levels if len(levels) <= 8 else [*levels[:2], *levels[-6:]]


def membership(group: int, blocks: Iterable[bytes]) -> str | None:
    """Whether a namespace has a "peer" of a sharing group, else a "slave", by its mountinfo in blocks of lines."""
    found = None
    for block in blocks:
        if b" shared:%d " % group in block:
            return "peer"
        found = "slave" if b" master:%d " % group in block else found
    return found


def sharing(group: int, memberships: Iterable[str | None]) -> GroupJson:
    """Who else is in a sharing group, by the `membership` of each other namespace."""
    count = Counter(memberships)
    return {"id": group, "peers": count["peer"], "slaves": count["slave"]}
