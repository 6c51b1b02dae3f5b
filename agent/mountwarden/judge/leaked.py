"""leaked: no home has the mount, a copy of it remains elsewhere, and no record says that it is in use."""

from collections.abc import Mapping

from ..model import (
    Copy,
    Evidence,
    Finding,
    Kind,
    Match,
    Mount,
    Picture,
    Reach,
    RecordState,
    RecordWant,
    RootState,
    Severity,
    Target,
    finding_id,
)


def judge(picture: Picture, answers: Mapping[RecordWant, RecordState]) -> tuple[list[Finding], set[RecordWant]]:
    """One finding for each spot and namespace in which a copy is leaked."""
    states = {state.root.path: state for state in picture.roots}
    own_roots = _own_roots(picture.copies)
    leaks: dict[tuple[bytes, bytes, int], list[tuple[Copy, Match, Evidence]]] = {}
    wants: set[RecordWant] = set()
    for copy in picture.copies:
        match = _place(copy, own_roots)
        if match is None or copy.mount.identity in picture.home_identities:
            continue
        if copy.namespace == states[match.root.path].home:
            continue
        want = RecordWant(match)
        if match.root.record:
            wants.add(want)
        record = answers.get(want, RecordState.UNKNOWN)
        if record is RecordState.LIVE:
            continue
        leaks.setdefault((match.root.path, match.spot.path, copy.namespace), []).append(
            (copy, match, _evidence(copy, record))
        )
    by_spot: dict[tuple[bytes, bytes], list[Copy]] = {}
    for (root, path, _namespace), copies in leaks.items():
        by_spot.setdefault((root, path), []).extend(copy for copy, _match, _evidence in copies)
    findings = [
        _finding(picture, states[root], namespace, copies, tuple(by_spot[root, path]))
        for (root, path, namespace), copies in leaks.items()
    ]
    return findings, wants


def _own_roots(copies: tuple[Copy, ...]) -> frozenset[tuple[int, str]]:
    """(namespace, device) where a copy is the namespace's own "/": a container, whose layer is in use by itself."""
    return frozenset((copy.namespace, copy.mount.device) for copy in copies if copy.mount.point == b"/")


def _place(copy: Copy, own_roots: frozenset[tuple[int, str]]) -> Match | None:
    """Where a copy belongs: on the spot it is on, or, bound elsewhere, on the one that home was seen to have it on."""
    if copy.mount.root.endswith(b"//deleted"):
        return None
    if copy.match is not None:
        fstype = copy.match.layout.fstype
        return copy.match if fstype in (None, copy.mount.fstype) else None
    if (copy.namespace, copy.mount.device) in own_roots:
        return None
    return copy.history


def _evidence(copy: Copy, record: RecordState) -> Evidence:
    if copy.history is not None:
        return Evidence.HISTORY
    return Evidence.RECORD if record is RecordState.UNMOUNTED else Evidence.SPOT


def _finding(
    picture: Picture,
    state: RootState,
    namespace: int,
    copies: list[tuple[Copy, Match, Evidence]],
    everywhere: tuple[Copy, ...],
) -> Finding:
    on_spot = [entry for entry in copies if entry[0].match is not None]
    copy, match, evidence = (on_spot or copies)[0]
    newer = state.live.get(match.spot, ())
    same_upper = any(_upper(mount) is not None and _upper(mount) == _upper(copy.mount) for mount in newer)
    reach = Reach.RMDIR if on_spot and not newer else Reach.INSIDE
    return Finding(
        id=finding_id(picture.boot_id, Kind.LEAKED, match.root.path, match.spot.path, namespace),
        kind=Kind.LEAKED,
        severity=Severity.CRITICAL if same_upper else Severity.WARNING,
        root=match.root,
        home=state.home,
        spot=match.spot,
        layer=match.layer,
        mountpoint=match.mountpoint,
        seen_at=copy.mount.point,
        namespace=namespace,
        fstype=copy.mount.fstype,
        device=copy.mount.device,
        mount_id=copy.mount.id,
        unique_id=copy.mount.unique,
        evidence=evidence,
        reach=reach,
        mount_class=match.layout.mount_class,
        count=len(copies),
        detail=_detail(bool(newer), same_upper, bool(on_spot)),
        target=Target(match, tuple(other for other in everywhere if other.match is not None)),
    )


def _upper(mount: Mount) -> bytes | None:
    """The text of an overlay's upperdir option: only ever compared."""
    options = mount.super_options.split(b",")
    return next((option for option in options if option.startswith(b"upperdir=")), None)


def _detail(newer: bool, same_upper: bool, on_spot: bool) -> str:
    if same_upper:
        return "the same upperdir is mounted again at home: two overlays write into it"
    if newer:
        return "home has a newer mount on the same spot"
    return "" if on_spot else "the copy is bound on a directory that is not the mountpoint"
