"""The mounts of all namespaces, read for one question and thrown away."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..explain import holders, naming
from ..explain.members import Members
from ..model import Gap, Mount, Namespace
from ..mounts.graph import Graph
from ..mounts.propagation import concerned, predict_umount
from ..mounts.table import Table
from ..observe import processes
from ..observe.all_mounts import Survey, survey
from ..observe.enter import own_namespace
from ..observe.umount_probe import probe_behaviour
from ..predict.locked import locked_mounts


@dataclass(frozen=True)
class World:
    """Each namespace's mounts, and who is in it."""

    own: int
    survey: Survey
    pids: tuple[int, ...]

    @property
    def tables(self) -> Mapping[int, Table]:
        """Each namespace's mounts, by its inode."""
        return self.survey.tables

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """What could not be read."""
        return self.survey.gaps

    @property
    def home(self) -> Table:
        """Our own namespace's mounts."""
        return self.tables[self.own]

    @functools.cached_property
    def namespaces(self) -> Mapping[int, Namespace]:
        """Every mount namespace, those that could not be read too."""
        inodes = (*self.survey.pids, *self.survey.doors)
        return {one: Namespace(one, self.survey.pids.get(one, ()), door=self.survey.doors.get(one)) for one in inodes}

    @functools.cached_property
    def by_pid(self) -> Mapping[int, int]:
        """The mount namespace of each process."""
        return {pid: inode for inode, pids in self.survey.pids.items() for pid in pids}

    @functools.cached_property
    def graph(self) -> Graph:
        """How propagation joins all mounts."""
        return Graph(self.tables)

    @functools.cached_property
    def _members(self) -> dict[int, Members]:
        return {}

    def members(self, inode: int) -> Members:
        """Who is in a namespace; read once."""
        if inode not in self._members:
            self._members[inode] = holders.members(self.namespaces[inode])
        return self._members[inode]

    def name(self, inode: int) -> str:
        """Whose mount namespace it is, as a sentence says it."""
        found = self.members(inode)
        return naming.name_of(found.holders, inode, found.more)

    def meant(self, mount: Mount) -> frozenset[int]:
        """Small ids of the mounts that matter to an umount of just this one, as `predict` has it.

        It itself, the copies that propagation may reach, and, where this is the last one of its namespace, those that
        other namespaces would keep.
        """
        here = self.graph.places[mount.id].namespace
        same = [place for place in self.graph.places.values() if place.mount.identity == mount.identity]
        last = all(place.mount.id == mount.id for place in same if place.namespace == here)
        kept = {place.mount.id for place in same if place.namespace != here} if last else set[int]()
        return concerned(self.graph, mount, lazy=False) | kept

    def follows(self, mounts: Sequence[Mount]) -> frozenset[int]:
        """Small ids of what goes along when these mounts of our own namespace are unmounted, innermost first.

        Of those that take each other along, the first is the one that is unmounted.
        """
        reached = set[int]()
        for mount in self._outermost(mounts):
            if mount.id in reached or not self.graph.candidates(self.graph.subtree(mount)):
                continue
            matter = concerned(self.graph, mount, lazy=True)
            forecast = predict_umount(
                self.graph,
                mount,
                lazy=True,
                busy=frozenset(),
                locked=locked_mounts(self.graph, self.survey.owners, matter),
                behaviour=probe_behaviour(),
            )
            reached |= {place.mount.id for place in forecast.reached}
        return frozenset(reached)

    def _outermost(self, mounts: Sequence[Mount]) -> Iterator[Mount]:
        """Those that are mounted in none of the others."""
        ids = {mount.id for mount in mounts}
        for mount in mounts:
            parent = self.graph.parent(mount)
            while parent is not None and parent.id not in ids:
                parent = self.graph.parent(parent)
            if parent is None:
                yield mount


def world() -> World:
    """Read every mount namespace once."""
    pids = processes.pids()
    return World(own_namespace(), survey(pids), tuple(pids))
