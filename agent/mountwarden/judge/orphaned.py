"""orphaned: a container's own root whose layer home has unmounted, with processes still in it."""

from ..model import Answers, Evidence, Finding, Kind, Picture, Question, Reach, Severity, finding_id


def judge(picture: Picture, _answers: Answers) -> tuple[list[Finding], set[Question]]:
    """One finding for each namespace whose "/" is a layer that home was seen to have until it went."""
    homes = {(state.root.path, state.root.home): state.home for state in picture.roots}
    findings = []
    for copy in picture.copies:
        match = copy.history
        if copy.mount.point != b"/" or match is None or copy.mount.identity in picture.home_identities:
            continue
        namespace = picture.namespaces.get(copy.namespace)
        if namespace is None or not namespace.pids:
            continue
        findings.append(
            Finding(
                id=finding_id(picture.boot_id, Kind.ORPHANED, match.root.path, match.spot.path, copy.namespace),
                kind=Kind.ORPHANED,
                severity=Severity.WARNING,
                root=match.root,
                home=homes.get((match.root.path, match.root.home)),
                spot=match.spot,
                layer=match.layer,
                mountpoint=match.mountpoint,
                seen_at=copy.mount.point,
                namespace=copy.namespace,
                fstype=copy.mount.fstype,
                device=copy.mount.device,
                mount_id=copy.mount.id,
                unique_id=copy.mount.unique,
                evidence=Evidence.HISTORY,
                reach=Reach.HOLDERS,
                mount_class=match.layout.mount_class,
                detail=f"it is the root of {len(namespace.pids)} processes" if len(namespace.pids) > 1 else "",
            )
        )
    return findings, set()
