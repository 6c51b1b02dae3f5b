"""Which container engines run: those of the host, of its users, and within containers."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from ..engines.containers_storage import CRIO
from ..engines.programs import PROGRAMS, Program
from ..explain import holders
from ..model import Holder, RootState
from ..observe import processes

MOST = 256
"""Processes of engines that are read; a host has a conmon for each container, and any user may call a process so."""
_FEW = 3


@dataclass(frozen=True, slots=True)
class EngineRunning:
    """Processes of one engine: of the host, of one user, or in one container."""

    program: Program
    processes: tuple[Holder, ...]
    """The first of them, lowest pid first."""
    many: int
    user: int | None = None
    """Whose it is where that is not root: it mounts in namespaces of the user's own."""
    container: str | None = None
    """Which container it runs in: what it mounts is the container's."""
    roots: tuple[RootState, ...] = ()
    """The roots that are known of it, where it is the host's."""

    @property
    def is_hosts(self) -> bool:
        """Whether it mounts in home."""
        return self.user is None and self.container is None


def running(pids: Iterable[int], roots: Iterable[RootState]) -> tuple[tuple[EngineRunning, ...], int]:
    """The engines among these processes, the host's first, and how many processes were left unread."""
    named = [(pid, program) for pid in pids if (program := PROGRAMS.get(_comm(pid)))]
    grouped: dict[tuple[str, int | None, str | None], list[tuple[Program, Holder]]] = {}
    for pid, program in named[:MOST]:
        if (one := _holder(pid)) is not None:
            user, container = _whose(one)
            program = PROGRAMS[CRIO] if _is_crios(one) else program
            grouped.setdefault((program.name, user, container), []).append((program, one))
    known = tuple(roots)
    found = tuple(_engine(key, some, known) for key, some in grouped.items())
    return tuple(sorted(found, key=lambda one: (not one.is_hosts, one.user or 0))), len(named[MOST:])


def _engine(
    key: tuple[str, int | None, str | None], some: list[tuple[Program, Holder]], roots: tuple[RootState, ...]
) -> EngineRunning:
    _name, user, container = key
    program = some[0][0]
    theirs = [state for state in roots if state.root.engine in program.modules]
    of_daemons = [state for state in theirs if state.root.home_known]  # one of another daemon, which ended, is not its
    first = tuple(one for _program, one in some[:_FEW])
    found = EngineRunning(program, first, len(some), user, container)
    return replace(found, roots=tuple(of_daemons or theirs)) if found.is_hosts else found


def _is_crios(one: Holder) -> bool:
    """Whether it is a monitor of CRI-O's, whose scope is called so (cri-o/cri-o internal/config/cgmgr)."""
    return one.comm == "conmon" and bool(one.unit and one.unit.startswith("crio-conmon-"))


def _whose(one: Holder) -> tuple[int | None, str | None]:
    """The user, of one that is not root; else the container, of one that is in one."""
    if one.user:
        return one.user, None
    foreign = next((name for name in _foreign(one.pid)), None)
    return None, one.container or (f"{foreign} namespace of process {one.pid}" if foreign else None)


def _foreign(pid: int) -> Iterator[str]:
    """Which of its namespaces are not the host's: an engine there is within a container, whose name is not known."""
    for kind in ("pid", "user"):
        try:
            if processes.link_inode(pid, kind) != os.stat(f"/proc/self/ns/{kind}").st_ino:
                yield kind
        except OSError:
            continue


def _comm(pid: int) -> str:
    try:
        return processes.comm(pid)
    except OSError:
        return ""


def _holder(pid: int) -> Holder | None:
    try:
        return holders.holder(pid)
    except OSError:
        return None
