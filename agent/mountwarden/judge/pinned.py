"""pinned: no mount of a layer is left anywhere, but processes still hold it open, so that its space is not freed."""

from ..model import (
    Answers,
    Evidence,
    Finding,
    Gone,
    Holder,
    Kind,
    Picture,
    Question,
    Reach,
    Severity,
    Use,
    UsersQuestion,
    finding_id,
)


def judge(picture: Picture, answers: Answers) -> tuple[list[Finding], set[Question]]:
    """One finding for each mount that went and that somebody still holds."""
    homes = {(state.root.path, state.root.home): state.home for state in picture.roots}
    wants: set[Question] = set()
    findings = []
    for gone in picture.gone:
        want = UsersQuestion(gone.ids)
        wants.add(want)
        if users := answers.users.get(want, ()):
            home = homes.get((gone.match.root.path, gone.match.root.home))
            findings.append(_finding(picture, gone, users, home))
    return findings, wants


def _finding(picture: Picture, gone: Gone, users: tuple[Use, ...], home: int | None) -> Finding:
    match, mount = gone.match, gone.mount
    by_pid = {use.pid: use.comm for use in users}
    return Finding(
        id=finding_id(picture.boot_id, Kind.PINNED, match.root.path, match.spot.path, None),
        kind=Kind.PINNED,
        severity=Severity.WARNING,
        root=match.root,
        home=home,
        spot=match.spot,
        layer=match.layer,
        mountpoint=match.mountpoint,
        seen_at=None,
        namespace=None,
        fstype=mount.fstype,
        device=mount.device,
        mount_id=mount.id,
        unique_id=mount.unique,
        evidence=Evidence.HISTORY,
        reach=Reach.HOLDERS,
        mount_class=match.layout.mount_class,
        count=len(users),
        detail="held by " + ", ".join(str(use) for use in users[:5]),
        holders=tuple(Holder(pid, comm) for pid, comm in sorted(by_pid.items())),
    )
