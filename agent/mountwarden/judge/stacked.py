"""stacked: the same mount many times on one mountpoint, as bidirectional or self-bind propagation multiplies it."""

from dataclasses import replace

from ..model import Answers, Finding, Kind, Picture, Question, Stack, one_each

DEPTH = 4
"""The number of mounts from which on it is reported. Two are made by a runtime that binds a root on itself."""


def judge(picture: Picture, _answers: Answers) -> tuple[list[Finding], set[Question]]:
    """One finding for each spot, of the mountpoints that have the most on them in each namespace.

    There is never an automatic action: some of the mounts may be in use.
    """
    homes = {(state.root.path, state.root.home): state.home for state in picture.roots}
    stacks = [stack for state in picture.roots for stack in state.stacks] + list(picture.stacks)
    deepest = sorted((one for one in stacks if one.depth >= DEPTH), key=lambda one: (-one.depth, one.top.point))
    found = (_finding(picture, one, homes.get((one.match.root.path, one.match.root.home))) for one in deepest)
    return one_each(found), set()


def _finding(picture: Picture, stack: Stack, home: int | None) -> Finding:
    found = Finding.of_match(
        Kind.STACKED, stack.match, stack.top, namespace=stack.namespace, home=home, boot_id=picture.boot_id
    )
    detail = f"{stack.depth} mounts of the same file system and root on top of each other"
    return replace(found, count=stack.depth, detail=detail)
