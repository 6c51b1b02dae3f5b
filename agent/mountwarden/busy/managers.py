"""What systemd itself has open is a unit's: of its descriptor store, or what its socket listens on."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from ..errors import NoAnswer
from ..explain import stopping
from ..model import Gap
from ..observe.open_files import Link
from ..systemd import descriptors
from ..systemd.descriptors import ManagerFiles
from .answer import Keeper

_MOST = 5
_JOURNALD = re.compile(r"systemd-journald(@.*)?\.service")
"""It stores connections of its own socket alone, on every host."""


def named(keepers: Iterable[Keeper], links: Iterable[Link]) -> tuple[tuple[Keeper, ...], tuple[Gap, ...]]:
    """The same, with what PID 1 or a user's systemd holds for a unit ascribed to that unit; and who did not answer."""
    opened = {(link.pid, link.how, link.path): (link.device, link.inode) for link in links}
    answers: dict[int | None, ManagerFiles | None] = {}
    gaps: list[Gap] = []
    found: list[Keeper] = []
    for keeper in keepers:
        manager = _manager(keeper)
        if manager is not None:
            user = manager[0]
            if user not in answers:
                answers[user] = _asked(user, gaps)
            keeper = _ascribed(keeper, user, answers[user], opened)
        found.append(keeper)
    return tuple(found), tuple(gaps)


def _manager(keeper: Keeper) -> tuple[int | None] | None:
    """Whose systemd has it open: None in it is PID 1."""
    if keeper.how not in ("file", "socket", "device") or not keeper.holders:
        return None
    first = keeper.holders[0]
    if first.pid == 1:
        return (None,) if descriptors.is_booted() else None
    user = stopping.manager_of(first)
    return None if user is None else (user,)


def _asked(user: int | None, gaps: list[Gap]) -> ManagerFiles | None:
    try:
        return descriptors.held(user)
    except (NoAnswer, OSError) as error:
        whose = "process 1" if user is None else f"the systemd of user {user}"
        gaps.append(Gap(f"for which unit {whose} holds what", str(error)))
        return None


def _ascribed(
    keeper: Keeper,
    user: int | None,
    files: ManagerFiles | None,
    opened: Mapping[tuple[int, str, bytes], tuple[str, int]],
) -> Keeper:
    keeper = replace(keeper, needs=f"process {keeper.holders[0].pid} must close it", command=None)
    if files is None:
        show = stopping.systemctl("show -p NFileDescriptorStore", "UNIT", user)
        maybe = f"it may hold it for a unit, in its file descriptor store ({show}) or for a socket unit"
        return replace(keeper, needs=f"{keeper.needs}; {maybe}")
    where = opened.get((keeper.holders[0].pid, keeper.detail.partition(" on ")[0], keeper.where))
    units = [one.unit for one in files.stored if (one.device, one.inode) == where]
    units = units or [unit for unit, path in files.listened if path == keeper.where]
    if not units:
        return replace(keeper, needs=keeper.needs + _perhaps(files, user))
    first = units[0]
    name, stop = stopping.named(first, user), stopping.systemctl("stop", first, user)
    if first.endswith(".socket"):
        return replace(keeper, needs=f"{name} listens on it: stop that", command=stop)
    clean = stopping.systemctl("clean --what=fdstore", first, user)
    rest = f"; if it keeps its store then: {clean}" if clean else ""
    return replace(keeper, needs=f"it is in the file descriptor store of {name}: stop that{rest}", command=stop)


def _perhaps(files: ManagerFiles, user: int | None) -> str:
    """Where this version of systemd does not tell: which units it may be, and how to find out."""
    untold = [unit for unit in files.untold if not _JOURNALD.fullmatch(unit)]
    if not untold:
        return ""
    show = stopping.systemctl("show -p NFileDescriptorStore", "UNIT", user)
    named = ", ".join(stopping.named(unit, user) for unit in untold[:_MOST])
    more = f" and {len(untold) - _MOST} more" if len(untold) > _MOST else ""
    one = "stopping that unit" if len(untold) == 1 else "stopping the right one"
    return f"; it may be in the file descriptor store of {named}{more} ({show} counts what is there): {one} releases it"
