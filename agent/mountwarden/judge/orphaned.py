"""orphaned: a container's own root whose layer home has unmounted, with processes still in it."""

from dataclasses import replace

from ..model import (
    Answers,
    Copy,
    Evidence,
    Finding,
    FoundCopy,
    Given,
    GivenQuestion,
    Kind,
    Match,
    MountClass,
    Picture,
    Question,
    Reach,
    Severity,
    one_each,
)


def judge(picture: Picture, answers: Answers) -> tuple[list[Finding], set[Question]]:
    """One finding for each layer that home has unmounted since an earlier scan and that is the "/" of a namespace.

    Info where a unit was given it as its root (RootDirectory=, RootImage=): it is in use.
    """
    questions: set[Question] = set()
    homes = {(state.root.path, state.root.home): state.home for state in picture.roots}
    findings = []
    for copy in (copy for space in picture.spaces if space.own_roots for copy in space.copies):
        match = copy.history
        if copy.mount.point != b"/" or match is None or copy.mount.identity in picture.home_identities:
            continue
        namespace = picture.namespaces.get(copy.namespace)
        if namespace is None or not namespace.pids:
            continue
        home = homes.get((match.root.path, match.root.home))
        given = None
        if match.layout.mount_class is MountClass.VOLUME:
            asked = GivenQuestion(copy.namespace, copy.mount.point, match.mountpoint, copy.mount.fstype)
            questions.add(asked)
            given = answers.given.get(asked)
        found = _finding(picture, copy, match, home, len(namespace.pids))
        findings.append(_in_use(found, given) if given else found)
    return one_each(findings), questions


def _in_use(found: Finding, given: Given) -> Finding:
    copies = tuple(replace(copy, reach=None, given=given) for copy in found.copies)
    return replace(found, severity=Severity.INFO, copies=copies, detail=f"in use by {given.by} as its root")


def _finding(picture: Picture, copy: Copy, match: Match, home: int | None, processes: int) -> Finding:
    return replace(
        Finding.of_match(
            Kind.ORPHANED, match, copy.mount, namespace=copy.namespace, home=home, boot_id=picture.boot_id
        ),
        evidence=Evidence.HISTORY,
        copies=(FoundCopy(copy.namespace, copy.mount.point, copy.mount.id, copy.mount.unique, Reach.HOLDERS),),
        detail=f"it is the root of {processes} processes" if processes > 1 else "",
    )
