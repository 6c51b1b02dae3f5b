"""orphaned: a container's own root whose layer home has unmounted, with processes still in it."""

from dataclasses import replace

from ..model import Answers, Copy, Evidence, Finding, FoundCopy, Kind, Match, Picture, Question, Reach, one_each


def judge(picture: Picture, _answers: Answers) -> tuple[list[Finding], set[Question]]:
    """One finding for each layer that home has unmounted since an earlier scan and that is the "/" of a namespace."""
    homes = {(state.root.path, state.root.home): state.home for state in picture.roots}
    findings = []
    for copy in picture.copies:
        match = copy.history
        if copy.mount.point != b"/" or match is None or copy.mount.identity in picture.home_identities:
            continue
        namespace = picture.namespaces.get(copy.namespace)
        if namespace is None or not namespace.pids:
            continue
        home = homes.get((match.root.path, match.root.home))
        findings.append(_finding(picture, copy, match, home, len(namespace.pids)))
    return one_each(findings), set()


def _finding(picture: Picture, copy: Copy, match: Match, home: int | None, processes: int) -> Finding:
    return replace(
        Finding.of_match(
            Kind.ORPHANED, match, copy.mount, namespace=copy.namespace, home=home, boot_id=picture.boot_id
        ),
        evidence=Evidence.HISTORY,
        copies=(FoundCopy(copy.namespace, copy.mount.point, copy.mount.id, copy.mount.unique, Reach.HOLDERS),),
        detail=f"it is the root of {processes} processes" if processes > 1 else "",
    )
