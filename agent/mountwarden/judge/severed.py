"""severed: home has the mount, but an umount in home would not reach the copy, which would then be leaked."""

from dataclasses import replace

from ..model import (
    Answers,
    Copy,
    Evidence,
    Finding,
    Kind,
    Match,
    Mount,
    PeerGroupQuestion,
    Picture,
    Question,
    RootKind,
    RootState,
    Severity,
    SpaceCopies,
    Spot,
    Target,
)


def judge(picture: Picture, answers: Answers) -> tuple[list[Finding], set[Question]]:
    """One finding for each root and namespace, with the number of copies that are cut off."""
    questions: set[Question] = set()
    findings = []
    for state in {(state.root.path, state.home): state for state in picture.roots}.values():
        same = _SameSpots(state)
        for space in picture.spaces:
            if state.home != space.namespace and (cut := _cut_off(same, space, answers, questions)):
                findings.append(_finding(picture, state, space.namespace, cut))
    return findings, questions


_Way = tuple[Mount, Mount]
"""From what home's mount is on to what the copy is on."""


class _SameSpots:
    """A root's state, and on which spots home has other mounts now than in an earlier state of it."""

    def __init__(self, state: RootState) -> None:
        self.state = state
        self._since: dict[int, set[Spot]] = {}
        """By id() of the earlier state."""

    def changed(self, before: RootState) -> set[Spot]:
        """Those spots. Mounts that are the same are the same objects."""
        if id(before) not in self._since:
            spots = before.live.keys() | self.state.live.keys()
            self._since[id(before)] = {spot for spot in spots if not self._is_same(before, spot)}
        return self._since[id(before)]

    def _is_same(self, before: RootState, spot: Spot) -> bool:
        old, new = before.live.get(spot, ()), self.state.live.get(spot, ())
        pairs = zip(old, new, strict=False)
        parents, earlier = self.state.parents, before.parents
        return len(old) == len(new) and all(
            one is other and earlier.get(one.id) is parents.get(other.id) for one, other in pairs
        )


def _cut_off(same: _SameSpots, space: SpaceCopies, answers: Answers, questions: set[Question]) -> list[Copy]:
    """The copies that home has too and that none of its umounts reaches."""
    cut: list[Copy] = []
    for ways, copies in _ways(same, space).values():
        if not any(_reaches(*way, answers, questions) for way in ways):
            cut += copies
    return cut


def _ways(same: _SameSpots, space: SpaceCopies) -> dict[tuple[int, ...], tuple[list[_Way], list[Copy]]]:
    """The copies by the ways on which umounts may come to them; kept while home's mounts on their spots are the same.

    Of tens of thousands of copies nearly all are on the same mount, and so are home's mounts of them.
    """
    state = same.state
    place = "severed", state.root.path, state.home
    known = space.derived.get(place)
    if known is None or known[0].root != state.root or any(spot in space.by_spot for spot in same.changed(known[0])):
        space.derived[place] = state, _found_ways(state, space)
    elif known[0] is not state:
        space.derived[place] = state, known[1]
    return space.derived[place][1]  # type: ignore[no-any-return]


def _found_ways(state: RootState, space: SpaceCopies) -> dict[tuple[int, ...], tuple[list[_Way], list[Copy]]]:
    found: dict[tuple[int, ...], tuple[list[_Way], list[Copy]]] = {}
    same_root: dict[int, bool] = {}
    for copy in space.copies:
        match, parent = copy.match, copy.parent
        if match is None or parent is None:
            continue
        if id(match.root) not in same_root:  # compared once
            same_root[id(match.root)] = match.root == state.root
        if not same_root[id(match.root)]:
            continue
        sources = [source for mount, source in _originals(state, match) if mount.identity == copy.mount.identity]
        if sources:
            key = id(parent), *map(id, sources)
            found.setdefault(key, ([(source, parent) for source in sources], []))[1].append(copy)
    return found


def _originals(state: RootState, match: Match) -> list[tuple[Mount, Mount]]:
    """Home's mounts on the spot, each with what it is mounted on: a copy is cut off where none of these propagates."""
    mounts = state.live.get(match.spot, ())
    return [(mount, state.parents[mount.id]) for mount in mounts if mount.id in state.parents]


def _reaches(source: Mount, target: Mount, answers: Answers, questions: set[Question]) -> bool:
    """Whether umounts on `source` propagate to `target`: one peer group, or a chain of masters up to it.

    A master whose own master is not known counts as reached, since a gap is no evidence.
    """
    group = source.shared
    if not group:
        return False
    if group in (target.shared, target.master, target.propagate_from):
        return True
    master, seen = target.master, set[int]()
    while master and master not in seen:
        seen.add(master)
        question = PeerGroupQuestion(master)
        questions.add(question)
        above = answers.masters.get(question)
        if above is None or above == group:
            return True
        master = above
    return False


def _finding(picture: Picture, state: RootState, namespace: int, copies: list[Copy]) -> Finding:
    first = min(copies, key=lambda copy: copy.mount.id)
    root = state.root
    # Any user can make as many namespaces as he likes, which are severed if he likes.
    users = bool(picture.namespaces[namespace].owner.uid) if namespace in picture.namespaces else False
    on_device = root.kind is RootKind.VOLUME and any(not c.mount.device.startswith("0:") for c in copies)
    return replace(
        Finding.of(
            Kind.SEVERED,
            root,
            first.mount,
            mountpoint=root.path,
            namespace=namespace,
            home=state.home,
            spot=state.bases[0].spot,
            boot_id=picture.boot_id,
        ),
        severity=Severity.WARNING if (on_device or not root.rmdir_on_put) and not users else Severity.INFO,
        evidence=Evidence.SPOT,
        mount_class=root.layout[0].mount_class,
        count=len(copies),
        target=Target(first.match, first.mount, tuple(copies)) if first.match else None,
        detail=f"umounts {root.where} reach none of {len(copies)} copies" if len(copies) > 1 else "",
    )
