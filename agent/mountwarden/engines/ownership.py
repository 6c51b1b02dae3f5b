"""Does anybody own a mount that home itself has? Each engine's proof is in a module of its own.

To say "gone" of what is in use is the worst that this can do: whatever can't be asked, or is not certain, is unknown.

So is, always, a volume of a pod of kubelet. Which pods there are, it knows from its API server, and keeps no record of
it on the node. That it does not know a pod whose volumes are still mounted it says in its journal alone, and at
verbosity 3, which few have; what it says at any verbosity ("orphaned pod … found, but volume paths are still present on
disk") is of directories on which nothing is mounted (kubernetes, pkg/kubelet/kubelet_volumes.go,
cleanupOrphanedPodDirs, removeOrphanedPodVolumeDirs). And a line of its journal may hold text that a pod or its runtime
chose.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..model import Match, Mount, RootState
from ..model.ownership import OWNER_UNKNOWN, Ownership
from . import buildkit_executors, containerd_tasks, containerd_tmpmounts, csi_staging, docker_left, podman_left
from .proof import Inquiry, Pairs
from .sources import Host

OLDER_THAN = 300.0
"""Seconds that an engine's daemon must have run: the confirm time of `abandoned`, unless it is configured."""


@dataclass(frozen=True, slots=True)
class _Proof:
    claims: Callable[[Match], bool]
    owners: Callable[[Inquiry, Pairs], list[Ownership]]


_PROOFS = tuple(
    _Proof(module.claims, module.owners)
    for module in (buildkit_executors, containerd_tasks, containerd_tmpmounts, csi_staging, docker_left, podman_left)
)


def can_be_abandoned(match: Match) -> bool:
    """Whether any engine's module can ever say that nobody owns a mount there. Asks nothing."""
    return _proof(match) is not None


def owners(
    host: Host, roots: Sequence[RootState], matches: Sequence[tuple[Match, Mount]], *, older_than: float = OLDER_THAN
) -> list[Ownership]:
    """Who owns each of these mounts, which home has on spots of the layout: one answer for each, in order.

    `host` is as of the scan that found them, `roots` are all that it found. A daemon that started less than
    `older_than` seconds ago proves nothing. Forks children; each daemon has 2 s to answer. Never raises.
    """
    inquiry = Inquiry(host, roots, older_than)
    together: dict[tuple[_Proof, str, bytes, int | None], list[int]] = {}
    for index, (match, _mount) in enumerate(matches):
        if proof := _proof(match):
            root = match.root
            together.setdefault((proof, root.engine, root.path, root.home), []).append(index)
    answers = [OWNER_UNKNOWN] * len(matches)
    for (proof, *_root), indexes in together.items():
        for index, answer in zip(indexes, _asked(proof, inquiry, [matches[i] for i in indexes]), strict=True):
            answers[index] = answer
    return answers


def _proof(match: Match) -> _Proof | None:
    return next((proof for proof in _PROOFS if proof.claims(match)), None)


def _asked(proof: _Proof, inquiry: Inquiry, pairs: Pairs) -> list[Ownership]:
    try:
        found = proof.owners(inquiry, pairs)
    except Exception:  # a fault of ours is no proof either
        return [OWNER_UNKNOWN] * len(pairs)
    return found if len(found) == len(pairs) else [OWNER_UNKNOWN] * len(pairs)
