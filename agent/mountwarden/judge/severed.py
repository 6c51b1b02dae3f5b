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
    Target,
)


def judge(picture: Picture, answers: Answers) -> tuple[list[Finding], set[Question]]:
    """One finding for each root and namespace, with the number of copies that are cut off."""
    questions: set[Question] = set()
    cut: dict[tuple[bytes, int | None, int], list[Copy]] = {}
    states = {(state.root.path, state.home): state for state in picture.roots}
    # By id() of what copies share, of which there are tens of thousands.
    of_root: dict[int, list[RootState]] = {}
    sources: dict[tuple[int, int], list[tuple[Mount, Mount]]] = {}
    reached: dict[tuple[int, int], bool] = {}
    for copy in picture.copies:
        match, parent = copy.match, copy.parent
        if match is None or parent is None:
            continue
        if id(match.root) not in of_root:
            of_root[id(match.root)] = [state for state in states.values() if state.root == match.root]
        for state in of_root[id(match.root)]:
            if state.home == copy.namespace:
                continue
            place = id(state), id(match)
            if place not in sources:
                sources[place] = _originals(state, match)
            is_cut = None
            for original, source in sources[place]:
                if original.device == copy.mount.device and original.root == copy.mount.root:
                    between = id(source), id(parent)
                    if between not in reached:
                        reached[between] = _reaches(source, parent, answers, questions)
                    is_cut = is_cut is not False and not reached[between]
            if is_cut:
                cut.setdefault((state.root.path, state.home, copy.namespace), []).append(copy)
    findings = [
        _finding(picture, states[path, home], namespace, copies) for (path, home, namespace), copies in cut.items()
    ]
    return findings, questions


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
