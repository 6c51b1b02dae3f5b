"""Predictors that are known to be wrong: the proof must notice each."""

from collections.abc import Iterable, Mapping

from mountwarden.graph import Graph
from mountwarden.model import Mount
from mountwarden.observe.mountinfo import Table

from tests.support.prove.judge import Maker


class _NoSlaveChain(Graph):
    """Slaves of the group itself, but not what is below them."""

    def receivers(self, mount: Mount) -> list[Mount]:
        mounts = [place.mount for place in self.places.values()]
        near = [other for other in mounts if mount.shared in (other.shared, other.master)]
        return [other for other in near if mount.shared and other.id != mount.id]


class _ChildsGroup(Graph):
    """Copies are what is in the child's own peer group, not what the parent's receivers have on the dentry."""

    def candidates(self, going: Iterable[Mount]) -> dict[int, Mount]:
        going = list(going)
        ids = {mount.id for mount in going}
        return {copy.id: copy for mount in going for copy in self.receivers(mount) if copy.id not in ids}


def _no_locks(tables: Mapping[int, Table], _locked: frozenset[int]) -> Graph:
    return Graph(tables)


MUTANTS: dict[str | None, Maker] = {
    None: Graph,
    "no slave chain": _NoSlaveChain,
    "the child's group for the parent's": _ChildsGroup,
    "no locked copies": _no_locks,
}
"""Predictors by name; None is the product's own."""
