"""abandoned: home itself still has a mount, and its engine proves that nobody owns it any more."""

from dataclasses import replace

from ..model import Answers, Finding, Kind, Owned, OwnerQuestion, Ownership, Picture, Question, Standing, Target


def judge(picture: Picture, answers: Answers) -> tuple[list[Finding], set[Question]]:
    """One finding for each mount of home that its engine says to be without an owner.

    None where the engine is down, says nothing or can't tell; nor where any mount namespace has the mount's device as
    its own "/": a container lives there, whatever its engine knows of it.
    """
    if not picture.standing:
        return [], set()
    lived_in = frozenset(device for space in picture.spaces for _namespace, device in space.own_roots)
    questions: set[Question] = set()
    findings = []
    for one in picture.standing:
        if not one.match.root.home_known or one.mount.device in lived_in:
            continue
        question = OwnerQuestion(one.home, one.mount, one.match)
        questions.add(question)
        owner = answers.owners.get(question)
        if owner is not None and owner.state is Owned.GONE:
            findings.append(_finding(picture, one, owner))
    return findings, questions


def _finding(picture: Picture, one: Standing, owner: Ownership) -> Finding:
    found = Finding.of_match(
        Kind.ABANDONED, one.match, one.mount, namespace=one.home, home=one.home, boot_id=picture.boot_id
    )
    detail = f"its owner is gone: {owner.proof}" if owner.proof else ""
    target = Target(one.match, one.mount, ())
    return replace(found, detail=detail, target=target, left=owner.left, frees=owner.frees, asked=one.asked)
