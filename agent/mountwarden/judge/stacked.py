"""stacked: the same mount many times on one mountpoint, as bidirectional or self-bind propagation multiplies it."""

from ..model import Answers, Finding, Kind, Picture, Question, Severity, Stack, finding_id

DEPTH = 4
"""From how many on it is told. Two is what a runtime does that binds a root file system on itself."""


def judge(picture: Picture, _answers: Answers) -> tuple[list[Finding], set[Question]]:
    """One finding for each spot and namespace, of the mountpoint that has the most on it.

    There is never an automatic act: some of them may be in use.
    """
    homes = {(state.root.path, state.root.home): state.home for state in picture.roots}
    stacks = [stack for state in picture.roots for stack in state.stacks] + list(picture.stacks)
    found: dict[str, Finding] = {}
    for stack in sorted(stacks, key=lambda stack: (-stack.depth, stack.top.point)):
        if stack.depth >= DEPTH:
            one = _finding(picture, stack, homes.get((stack.match.root.path, stack.match.root.home)))
            found.setdefault(one.id, one)
    return list(found.values()), set()


def _finding(picture: Picture, stack: Stack, home: int | None) -> Finding:
    match, top = stack.match, stack.top
    return Finding(
        id=finding_id(picture.boot_id, Kind.STACKED, match.root.path, match.spot.path, stack.namespace),
        kind=Kind.STACKED,
        severity=Severity.WARNING,
        root=match.root,
        home=home,
        spot=match.spot,
        layer=match.layer,
        mountpoint=match.mountpoint,
        seen_at=top.point,
        namespace=stack.namespace,
        fstype=top.fstype,
        device=top.device,
        mount_id=top.id,
        unique_id=top.unique,
        evidence=None,
        reach=None,
        mount_class=match.layout.mount_class,
        count=stack.depth,
        detail=f"{stack.depth} mounts of the same file system and root on top of each other",
    )
