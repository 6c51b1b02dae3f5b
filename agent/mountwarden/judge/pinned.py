"""pinned: no mount of a layer or device is left anywhere, but something still holds it, so that it is not freed."""

from dataclasses import replace

from ..model import (
    Answers,
    Evidence,
    Finding,
    FoundCopy,
    Gone,
    Holder,
    Kept,
    Kind,
    Picture,
    Question,
    Reach,
    Root,
    Severity,
    Use,
    UsersQuestion,
    finding_id,
)


def judge(picture: Picture, answers: Answers) -> tuple[list[Finding], set[Question]]:
    """One finding for each mount that is gone and that a process still holds open."""
    homes = {(state.root.path, state.root.home): state.home for state in picture.roots}
    questions: set[Question] = set()
    findings = []
    for gone in picture.gone:
        question = UsersQuestion(gone.ids)
        questions.add(question)
        if users := answers.users.get(question, ()):
            home = homes.get((gone.match.root.path, gone.match.root.home))
            found = _of_gone(picture, gone, home)
            findings.append(replace(_held(found, users), evidence=Evidence.HISTORY))
    known = {finding.device for finding in findings}
    for kept in picture.kept:
        if kept.root is not None and kept.device not in known:
            home = homes.get((kept.root.path, kept.root.home))
            findings.append(_of_kept(picture, kept, kept.root, home))
    return findings, questions


def _of_gone(picture: Picture, gone: Gone, home: int | None) -> Finding:
    return Finding.of_match(Kind.PINNED, gone.match, gone.mount, namespace=None, home=home, boot_id=picture.boot_id)


def _of_kept(picture: Picture, kept: Kept, root: Root, home: int | None) -> Finding:
    """Where the layer is not known, the finding's id is by the device, and its path what is known of it instead."""
    what = kept.match.spot.path if kept.match else kept.device.encode()
    found = Finding(
        id=finding_id(picture.boot_id, Kind.PINNED, root.path, what, None),
        kind=Kind.PINNED,
        severity=Severity.WARNING if kept.sure else Severity.INFO,
        root=root,
        mountpoint=kept.match.mountpoint if kept.match else kept.path or root.path,
        home=home,
        spot=kept.match.spot if kept.match else None,
        layer=kept.match.layer if kept.match else None,
        fstype=kept.fstype,
        device=kept.device,
        mount_class=kept.match.layout.mount_class if kept.match else root.layout[0].mount_class,
    )
    found = _held(found, kept.uses)
    return replace(found, detail=found.detail + _reservation(kept))


def _reservation(kept: Kept) -> str:
    if kept.bare:
        return "; it may be a mount that was made and never attached (fsmount(2), open_tree(2))"
    if not kept.sure:
        return "; of its layers only one that others share is known, by a file of it"
    return ""


def _held(found: Finding, users: tuple[Use, ...]) -> Finding:
    by_pid = {use.pid: use.comm for use in users if use.pid}
    holders = tuple(Holder(pid, comm) for pid, comm in sorted(by_pid.items()))
    return replace(
        found,
        count=len(users),
        spaces=0,
        detail="held by " + ", ".join(str(use) for use in users[:5]),
        copies=(FoundCopy(None, reach=Reach.HOLDERS, holders=holders),),
    )
