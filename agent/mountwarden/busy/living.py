"""Who lives in a namespace that is asked about: it lasts as long as its last process, whatever is unmounted."""

import errno
from collections.abc import Iterator

from ..explain import holders, naming, stopping
from ..model import Holder
from ..observe import processes
from .answer import BusyTarget, Keeper
from .world import World

_FEW = 3
_UNREADABLE = (errno.ENOENT, errno.ESRCH, errno.EACCES, errno.EPERM, errno.EINVAL)


def keepers(target: BusyTarget, world: World) -> Iterator[Keeper]:
    """One for each unit, container or session that has a process in the namespace; the host's own is one alone."""
    if target.space is None:
        return
    kind, inode = target.space
    pids = [pid for pid in world.pids if _is_in(pid, kind, inode)]
    if 1 in pids:
        yield _keeper(target, f"process 1 and {len(pids) - 1} more: it lasts as long as the host")
        return
    groups: dict[tuple[str | None, str | None, str | None], list[Holder]] = {}
    for pid in pids:
        try:
            one = holders.holder(pid)
        except OSError:
            one = None
        if one is not None:
            groups.setdefault((one.container, one.user_unit, one.unit), []).append(one)
    for held in groups.values():
        needs, command = _needs(held[0])
        yield _keeper(target, needs, command, tuple(held[:_FEW]), len(held))


def _keeper(
    target: BusyTarget, needs: str, command: str | None = None, held: tuple[Holder, ...] = (), many: int = 0
) -> Keeper:
    more = f"{many} processes" if many > len(held) else ""
    return Keeper("lives", target.path or b"", needs, holders=held, detail=more, command=command)


def _needs(first: Holder) -> tuple[str, str | None]:
    if stop := stopping.stop(first):
        return ("they must end; or " if stopping.is_in_session(first) else "") + stop.words, stop.command
    return f"stop {naming.container_of(first)}" if first.container else "what lives in it must end", None


def _is_in(pid: int, kind: str, inode: int) -> bool:
    try:
        return processes.link_inode(pid, kind) == inode
    except OSError as error:
        if error.errno not in _UNREADABLE:
            raise
        return False
