"""stacked: the same mount ever more times on one mountpoint, as bidirectional propagation or a self-bind makes it."""

from dataclasses import replace

from ..model import Answers, Finding, Kind, Picture, Question, Severity, Stack, one_each

DEPTH = 4
"""The number of mounts from which on it is reported. Two are made by a runtime that binds a root on itself."""


def judge(picture: Picture, _answers: Answers) -> tuple[list[Finding], set[Question]]:
    """One finding for each spot, of the mountpoints that have the most on them in each namespace.

    A warning where it grew since an earlier scan; else info, since somebody may have made it so. What home has is told
    of home alone: the copies in other namespaces come from there, and go with what makes them.

    There is never an automatic action: some of the mounts may be in use.
    """
    homes = {(state.root.path, state.root.home): state.home for state in picture.roots}
    stacks = [*picture.stacks, *(stack for state in picture.roots for stack in state.stacks)]
    deepest = sorted((one for one in stacks if one.depth >= DEPTH), key=_rank)
    at_home = {one.match.spot for one in deepest if one.namespace == homes.get(_root(one))}
    found = (
        _finding(picture, one, homes.get(_root(one)))
        for one in deepest
        if one.match.spot not in at_home or one.namespace == homes.get(_root(one))
    )
    return one_each(found), set()


def _rank(stack: Stack) -> tuple[bool, int, bytes]:
    return not stack.grew, -stack.depth, stack.top.point


def _root(stack: Stack) -> tuple[bytes, int | None]:
    return stack.match.root.path, stack.match.root.home


def _finding(picture: Picture, stack: Stack, home: int | None) -> Finding:
    found = Finding.of_match(
        Kind.STACKED, stack.match, stack.top, namespace=stack.namespace, home=home, boot_id=picture.boot_id
    )
    seen = f"{stack.least} when it was first seen" if stack.grew else "not seen to grow"
    detail = f"{stack.depth} mounts of the same file system and root on top of each other, {seen}"
    severity = Severity.WARNING if stack.grew else Severity.INFO
    return replace(found, severity=severity, count=stack.depth, detail=detail)
