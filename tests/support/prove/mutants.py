"""Predictors that are known to be wrong: the proof must notice each."""

from collections.abc import Iterable

from mountwarden.model import Mount
from mountwarden.mounts.graph import Graph

from tests.support.prove.judge import Predictor


class _NoSlaveChain(Graph):
    """Slaves of the group itself, but not what is below them."""

    def receivers(self, mount: Mount) -> list[Mount]:
        near = [
            place.mount for place in self.places.values() if mount.shared in (place.mount.shared, place.mount.master)
        ]
        return [other for other in near if mount.shared and other.id != mount.id]


class _ChildsGroup(Graph):
    """Copies are what is in the child's own peer group, not what the parent's receivers have on the dentry."""

    def candidates(self, going: Iterable[Mount]) -> dict[int, Mount]:
        going = list(going)
        ids = {mount.id for mount in going}
        return {copy.id: copy for mount in going for copy in self.receivers(mount) if copy.id not in ids}


PREDICTORS: dict[str | None, Predictor] = {
    None: Predictor(compare_locks=True),
    "no slave chain": Predictor(graph=_NoSlaveChain),
    "the child's group for the parent's": Predictor(graph=_ChildsGroup),
    "no locked copies": Predictor(locks=False),
}
"""By name; None is the product's own, whose locks are compared with the kernel's, too."""
