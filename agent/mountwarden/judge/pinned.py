"""pinned: no mount of a layer is left anywhere, but processes still hold it open, so that its space is not freed."""

from dataclasses import replace

from ..model import (
    Answers,
    Evidence,
    Finding,
    FoundCopy,
    Gone,
    Holder,
    Kind,
    Picture,
    Question,
    Reach,
    Use,
    UsersQuestion,
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
            findings.append(_finding(picture, gone, users, home))
    return findings, questions


def _finding(picture: Picture, gone: Gone, users: tuple[Use, ...], home: int | None) -> Finding:
    by_pid = {use.pid: use.comm for use in users}
    holders = tuple(Holder(pid, comm) for pid, comm in sorted(by_pid.items()))
    return replace(
        Finding.of_match(Kind.PINNED, gone.match, gone.mount, namespace=None, home=home, boot_id=picture.boot_id),
        evidence=Evidence.HISTORY,
        count=len(users),
        spaces=0,
        detail="held by " + ", ".join(str(use) for use in users[:5]),
        copies=(FoundCopy(None, reach=Reach.HOLDERS, holders=holders),),
    )
