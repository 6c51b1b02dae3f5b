"""What an umount would do on this host, now: reads every namespace, then asks the model. Changes nothing."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from ..errors import MountwardenError, NoAnswer
from ..escape import printable
from ..explain import cause as causes
from ..explain import gather, holders
from ..explain.members import Members
from ..model import Cause, Finding, Gap, Kind, Mount, Namespace, Root, RootKind
from ..mounts.graph import Graph, PlacedMount
from ..mounts.propagation import Behaviour, Prediction, UmountResult, concerned, predict_umount
from ..observe import namespaces, paths, processes
from ..observe.all_mounts import Survey, survey
from ..observe.enter import own_namespace
from ..observe.umount_probe import probe_behaviour
from .locked import locked_mounts
from .occupants import Occupant, occupants
from .survivors import Staying, Why

MOST_CAUSES = 5
"""Namespaces whose cause is asked for: PID 1 may take seconds for each."""


@dataclass(frozen=True, slots=True)
class Left:
    """A copy that would stay, and what keeps it."""

    place: PlacedMount
    why: Why


@dataclass(frozen=True, slots=True)
class Space:
    """A namespace that the umount concerns: who is in it, and why umounts do not reach it, where that was asked."""

    members: Members
    cause: Cause | None = None


@dataclass(frozen=True, slots=True)
class Forecast:
    """The answer to one question."""

    path: bytes
    lazy: bool
    mount: Mount | None
    """What is mounted there; None for nothing."""
    inside: Mount | None = None
    """Where nothing is mounted there: the mount that the path is on."""
    answer: UmountResult | None = None
    """None where nothing is mounted there."""
    because: tuple[Occupant, ...] = ()
    below: tuple[PlacedMount, ...] = ()
    """Mounts on or below it, which make it busy."""
    reached: tuple[PlacedMount, ...] = ()
    left: tuple[Left, ...] = ()
    spaces: Mapping[int, Space] = field(default_factory=dict)
    """Each namespace that is named above, by its inode."""
    inferred: bool = False
    """It depends on which mounts user namespaces lock, which the kernel does not show (see locked.py)."""
    gaps: tuple[Gap, ...] = ()


@dataclass(frozen=True, slots=True)
class HostMounts:
    """What an answer stands on: this host, or what was seen of one."""

    survey: Survey
    own: int
    """Inode of the namespace in which the umount would be done."""
    occupants: Callable[[frozenset[int]], tuple[tuple[Occupant, ...], tuple[Gap, ...]]]
    """What holds one of these mounts (small ids), and what could not be asked."""
    members: Callable[[Namespace], Members]
    behaviour: Callable[[], Behaviour]
    with_causes: bool = True
    """Whether this host can be asked why a copy would stay."""


def here() -> HostMounts:
    """This host, now."""
    found, own = survey(processes.pids()), own_namespace()
    return HostMounts(found, own, lambda mounts: occupants(mounts, found, own), holders.members, probe_behaviour)


def umount(path: bytes, *, lazy: bool, pid: int | None = None) -> Forecast:
    """What umount(2) of `path` would do; with `pid`, in the mount namespace of that process. Needs root.

    In another namespace the path must be absolute, without symbolic links: nothing is walked there.

    Raises: MountwardenError where that namespace can't be read, the path is not there, or the mount is locked; OSError
    as stat(2) does else.
    """
    seen = here()
    inode = seen.own if pid is None else _namespace_of(pid)
    if pid is None and inode in seen.survey.tables:
        path = _resolved(path)
    return answer(path, seen, lazy=lazy, inode=inode, pid=pid)


def answer(path: bytes, seen: HostMounts, *, lazy: bool, inode: int, pid: int | None = None) -> Forecast:
    """The same of what was seen, for an absolute path without symbolic links in the namespace with that inode."""
    if inode not in seen.survey.tables:
        raise MountwardenError(f"the mounts of namespace {inode} can't be read", hint="mountwarden report says why")
    path = _absolute(path)
    mount = seen.survey.tables[inode].containing(path)
    if mount is None or mount.point != path:
        return Forecast(path, lazy, None, mount, gaps=seen.survey.gaps)
    return _Question(path, mount, inode, pid, lazy, seen).answer()


def _namespace_of(pid: int) -> int:
    try:
        return processes.link_inode(pid, "mnt")
    except (FileNotFoundError, ProcessLookupError):
        raise MountwardenError(f"there is no process {pid}", hint="ps lists them") from None


def _resolved(path: bytes) -> bytes:
    try:
        return paths.place(path).path
    except FileNotFoundError:
        hint = "--namespace PID takes the path as that process sees it"
        raise MountwardenError(f"{printable(path)} is not there", hint=hint) from None


def _absolute(path: bytes) -> bytes:
    if not path.startswith(b"/"):
        raise MountwardenError(f"{printable(path)} is not absolute", hint="as that namespace shows it, from /")
    return b"/" + os.path.normpath(path).lstrip(b"/")


@dataclass(frozen=True)
class _Question:
    path: bytes
    mount: Mount
    inode: int
    pid: int | None
    lazy: bool
    seen: HostMounts

    def answer(self) -> Forecast:
        graph = Graph(self.seen.survey.tables)
        matter = concerned(graph, self.mount, lazy=self.lazy)
        held, gaps = ((), ()) if self.lazy else self.seen.occupants(matter)
        locked = locked_mounts(graph, self.seen.survey.owners, matter)
        predict = partial(
            predict_umount,
            graph,
            self.mount,
            lazy=self.lazy,
            busy=frozenset(one.mount for one in held),
            behaviour=self.seen.behaviour(),
        )
        forecast = predict(locked=locked)
        if forecast.answer is UmountResult.LOCKED:
            hint = "it goes with what it is mounted on, or when its directory is removed outside"
            what = f"{printable(self.path)} is locked"
            raise MountwardenError(f"{what}: its user namespace may not unmount it alone", hint=hint)
        inferred = any(predict(locked=other) != forecast for other in self._other_locks(graph, matter, locked))
        return replace(self._forecast(graph, forecast, locked, held, gaps), inferred=inferred)

    def _other_locks(self, graph: Graph, matter: frozenset[int], locked: frozenset[int]) -> Iterator[frozenset[int]]:
        """The least and the most that may be locked of what the umount may reach."""
        owners = self.seen.survey.owners
        foreign = (i for i in matter if owners.get(graph.places[i].namespace) != owners.get(self.inode))
        own = locked & {self.mount.id}
        yield from ({own, own | frozenset(foreign)} if len(set(owners.values())) > 1 else ())

    def _forecast(
        self,
        graph: Graph,
        forecast: Prediction,
        locked: frozenset[int],
        held: tuple[Occupant, ...],
        gaps: tuple[Gap, ...],
    ) -> Forecast:
        because = {place.mount.id for place in forecast.because}
        because |= {self.mount.id} if forecast.answer is UmountResult.BUSY else set()  # who would be next in its way
        children = frozenset(child.id for child in graph.children(self.mount))
        staying = Staying(graph, graph.subtree(self.mount) if self.lazy else (self.mount,), locked)
        left = tuple(Left(place, staying.why(place)) for place in forecast.left)
        spaces, more = self._spaces(graph, (*forecast.reached, *forecast.because), left, staying)
        return Forecast(
            path=self.path,
            lazy=self.lazy,
            mount=self.mount,
            answer=forecast.answer,
            because=tuple(one for one in held if one.mount in because),
            below=tuple(place for place in forecast.because if place.mount.id in children),
            reached=forecast.reached,
            left=left,
            spaces=spaces,
            gaps=self.seen.survey.gaps + gaps + more,
        )

    def _spaces(
        self, graph: Graph, named: Iterable[PlacedMount], left: tuple[Left, ...], staying: Staying
    ) -> tuple[dict[int, Space], tuple[Gap, ...]]:
        inodes = sorted({place.namespace for place in named} | {one.place.namespace for one in left})
        found = {inode: Space(self.seen.members(self._namespace(inode))) for inode in inodes}
        severed = dict[int, PlacedMount]()
        for one in left:
            if one.why is Why.SEVERED:
                severed.setdefault(one.place.namespace, one.place)
        gaps: tuple[Gap, ...] = ()
        for inode, place in list(severed.items())[: MOST_CAUSES if self.seen.with_causes else 0]:
            counterpart = staying.counterpart(place)
            assert counterpart is not None  # else it is elsewhere
            cause, more = self._cause(graph, place, counterpart, found[inode].members)
            found[inode] = Space(found[inode].members, cause)
            gaps += more
        return found, gaps

    def _namespace(self, inode: int) -> Namespace:
        return Namespace(inode, self.seen.survey.pids.get(inode, ()), door=self.seen.survey.doors.get(inode))

    def _cause(
        self, graph: Graph, place: PlacedMount, counterpart: Mount, members: Members
    ) -> tuple[Cause | None, tuple[Gap, ...]]:
        """As of a severed copy: what is known of its namespace, its unit, and the mount that holds it."""
        space, home = self._namespace(place.namespace), graph.parent(counterpart)
        finding = self._finding(place, counterpart, home, members)
        try:
            above = namespaces.read(space.inode, space.pids, partial(gather.above_copy, finding), space.door)
        except (OSError, NoAnswer) as error:
            return None, (Gap("the mounts of a namespace", str(error), space.inode),)
        around, gaps = gather.gather(finding, above, home)
        return causes.explain(finding, around), gaps

    def _finding(self, place: PlacedMount, counterpart: Mount, home: Mount | None, members: Members) -> Finding:
        where = home.point if home is not None else self.path
        who = f"process {self.pid}" if self.pid is not None else ""
        root = Root(where, who, RootKind.CUSTOM, (), self.inode, home_pid=self.pid)
        found = Finding.of(
            Kind.SEVERED,
            root,
            place.mount,
            mountpoint=counterpart.point,
            namespace=place.namespace,
            home=self.inode,
        )
        copy = replace(found.first, namespace_kind=members.kind, holders=members.holders)
        return replace(found, copies=(copy,))
