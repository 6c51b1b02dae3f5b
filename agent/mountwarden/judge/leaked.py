"""leaked: no home has the mount, a copy of it remains elsewhere, and no record says that it is in use."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from ..escape import decoded
from ..model import (
    NAMED,
    Answers,
    ContainerQuestion,
    Copy,
    Evidence,
    Finding,
    FoundCopy,
    Given,
    GivenQuestion,
    Kind,
    Match,
    Mount,
    MountClass,
    Picture,
    Question,
    Reach,
    RecordQuestion,
    RecordState,
    RootState,
    Severity,
    SpaceCopies,
    Spot,
    Target,
    is_on_block_device,
)


@dataclass(frozen=True, slots=True)
class _Leak:
    copy: Copy
    match: Match
    evidence: Evidence
    recorded_live: bool = False
    given: Given | None = None
    """Who was given the copy on purpose."""

    @property
    def on_spot(self) -> bool:
        """Whether it is on the mountpoint itself, so that rmdir(2) of that directory removes it."""
        return self.copy.spot == self.match.spot


_Key = tuple[bytes, int | None]
"""A root: its path, and its home as the engine's module gave it."""


def judge(picture: Picture, answers: Answers) -> tuple[list[Finding], set[Question]]:
    """One finding for each spot of which copies are leaked."""
    states = {_key(state.root.path, state.root.home): state for state in picture.roots}
    own_roots = frozenset(one for space in picture.spaces for one in space.own_roots)
    home_devices = frozenset(device for device, _root in picture.home_identities)
    questions: set[Question] = set()
    leaks: dict[tuple[_Key, bytes], list[_Leak]] = {}
    for copy in _not_at_home(picture):
        leak = _leak(copy, picture, own_roots, home_devices, answers, questions)
        if leak is None:
            continue
        root = leak.match.root
        key = _key(root.path, root.home)
        if key in states and copy.namespace != states[key].home:
            leaks.setdefault((key, leak.match.spot.path), []).append(leak)
    there = {spot: _on(picture.spaces, spot) for spot in {found[0].match.spot for found in leaks.values()}}
    findings = [
        _finding(picture, states[key], _best(found), there.get(found[0].match.spot, ()))
        for (key, _path), found in leaks.items()
    ]
    return findings, questions


def _not_at_home(picture: Picture) -> Iterator[Copy]:
    for space in picture.spaces:
        yield from space.beside(picture.home_identities)


def _best(leaks: list[_Leak]) -> list[_Leak]:
    """Those that are more than a claim, if there are any; by evidence, then the mountpoint's own, then by namespace."""
    proven = [leak for leak in leaks if leak.evidence is not Evidence.CLAIMED]
    rank = list(Evidence).index
    return sorted(proven or leaks, key=lambda leak: (rank(leak.evidence), not leak.on_spot, leak.copy.namespace))


def _key(path: bytes, home: int | None) -> _Key:
    return path, home


def _leak(
    copy: Copy,
    picture: Picture,
    own_roots: frozenset[tuple[int, str]],
    home_devices: frozenset[str],
    answers: Answers,
    questions: set[Question],
) -> _Leak | None:
    match = _place(copy, own_roots)
    claimed = match is None
    match = match or copy.claim
    if match is None:
        return None
    if is_on_block_device(copy.mount) and copy.mount.device in home_devices:
        return None  # home has the device mounted elsewhere, so it is in use
    record = RecordState.UNKNOWN
    if match.root.record:
        questions.add(question := RecordQuestion(match))
        record = answers.records.get(question, record)
    if record is RecordState.LIVE:
        return _in_use_by_record_alone(copy, match, own_roots, answers, questions)
    if claimed and record is not RecordState.UNMOUNTED:
        return None
    if match.root.daemonless and record is RecordState.UNKNOWN and copy.history is None:
        return None  # any namespace may be its home
    if claimed or match.layout.mount_class is not MountClass.VOLUME:
        return _Leak(copy, match, Evidence.CLAIMED if claimed else _evidence(copy, record))
    asked = GivenQuestion(copy.namespace, copy.mount.point, match.mountpoint, copy.mount.fstype)
    questions.add(asked)
    return _Leak(copy, match, _evidence(copy, record), given=answers.given.get(asked))


def _in_use_by_record_alone(
    copy: Copy,
    match: Match,
    own_roots: frozenset[tuple[int, str]],
    answers: Answers,
    questions: set[Question],
) -> _Leak | None:
    """An engine that was killed between its umount and its writing it down: home was seen to unmount it."""
    if copy.history is None or any(device == copy.mount.device for _namespace, device in own_roots):
        return None
    question = ContainerQuestion(match)
    questions.add(question)
    return (
        _Leak(copy, match, Evidence.HISTORY, recorded_live=True) if answers.containers.get(question) is False else None
    )


def _place(copy: Copy, own_roots: frozenset[tuple[int, str]]) -> Match | None:
    """What a copy is of: by its spot, or, where it is bound elsewhere, by the spot on which home had the same."""
    if copy.mount.root.endswith(b"//deleted"):
        return None
    if copy.match is not None:
        layout = copy.match.layout
        if layout.fstype not in (None, copy.mount.fstype) or (layout.needs_history and copy.history is None):
            return None
        return copy.match
    if (copy.namespace, copy.mount.device) in own_roots:
        return None
    return copy.history


def _evidence(copy: Copy, record: RecordState) -> Evidence:
    if copy.history is not None:
        return Evidence.HISTORY
    return Evidence.RECORD if record is RecordState.UNMOUNTED else Evidence.SPOT


def _on(spaces: Iterable[SpaceCopies], spot: Spot) -> tuple[Copy, ...]:
    """All mounts that are on the spot."""
    return tuple(copy for space in spaces for copy in space.by_spot.get(spot, ()))


def _finding(picture: Picture, state: RootState, leaks: list[_Leak], there: tuple[Copy, ...]) -> Finding:
    """The finding of one spot; the first leak stands for all of them."""
    used, left = [leak for leak in leaks if leak.given], [leak for leak in leaks if not leak.given]
    first = (left or used)[0]
    copy, match = first.copy, first.match
    newer = state.live.get(match.spot, ())
    same_upper = any(_upper(mount) is not None and _upper(mount) == _upper(copy.mount) for mount in newer)
    found = Finding.of_match(
        Kind.LEAKED, match, copy.mount, namespace=copy.namespace, home=state.home, boot_id=picture.boot_id
    )
    by_namespace: dict[int, _Leak] = {}
    for leak in (*left, *used):
        by_namespace.setdefault(leak.copy.namespace, leak)
    named = itertools.islice(by_namespace.values(), NAMED)
    target = _target(left, there) if left else None
    kept = bool(newer) or any(leak.on_spot for leak in used)  # what replaces the directory would take them along
    said = _detail(left, newer=bool(newer), same_upper=same_upper) if left else ""
    return replace(
        found,
        severity=_severity(first, same_upper),
        evidence=first.evidence,
        copies=tuple(_copy(leak, kept=kept) for leak in named),
        count=len(leaks),
        spaces=len(by_namespace),
        detail="; ".join(filter(None, (said, _in_use(used)))),
        recorded_live=first.recorded_live,
        target=target,
        beside=tuple(_other(copy) for copy in target.others[:NAMED]) if target else (),
    )


def _in_use(used: list[_Leak]) -> str:
    """Who uses it by design, the first three."""
    who = dict.fromkeys(f"{one.by} as {decoded(one.point)}" for leak in used if (one := leak.given))
    return "in use by " + ", ".join(list(who)[:3]) if who else ""


def _copy(leak: _Leak, *, kept: bool) -> FoundCopy:
    copy = leak.copy
    reach = None if leak.given else Reach.RMDIR if leak.on_spot and not kept else Reach.INSIDE
    return FoundCopy(copy.namespace, copy.mount.point, copy.mount.id, copy.mount.unique, reach, given=leak.given)


def _other(copy: Copy) -> FoundCopy:
    return FoundCopy(copy.namespace, copy.mount.point, copy.mount.id, copy.mount.unique)


def _target(leaks: list[_Leak], there: tuple[Copy, ...]) -> Target:
    first = leaks[0]
    on_spot = tuple(leak.copy for leak in leaks if leak.on_spot)
    everywhere = sorted((leak.copy for leak in leaks), key=lambda copy: copy.namespace)
    return Target(first.match, first.copy.mount, on_spot, tuple(everywhere), there)


def _severity(leak: _Leak, same_upper: bool) -> Severity:
    if leak.evidence is Evidence.CLAIMED or leak.recorded_live or leak.given:
        return Severity.INFO
    return Severity.CRITICAL if same_upper or is_on_block_device(leak.copy.mount) else Severity.WARNING


def _upper(mount: Mount) -> bytes | None:
    """The text of an overlay's upperdir option: only ever compared."""
    options = mount.super_options.split(b",")
    return next((option for option in options if option.startswith(b"upperdir=")), None)


def _detail(leaks: list[_Leak], *, newer: bool, same_upper: bool) -> str:
    first = leaks[0]
    if first.evidence is Evidence.CLAIMED:
        return "suspected: only the mount's own options name this layer"
    if first.recorded_live:
        return "the engine's record still says that it is in use, though nothing of its container lives"
    if same_upper:
        return f"the same upperdir is mounted again {first.match.root.where}: two overlays write into it"
    if newer:
        return f"there is a newer mount on the same spot {first.match.root.where}"
    if not all(leak.copy.mount.same_as(first.copy.mount) for leak in leaks):
        return "mounts of different file systems are on the same spot"
    if not any(leak.on_spot for leak in leaks):
        return "the copy is bound on a directory that is not the mountpoint"
    return "it keeps its block device busy" if is_on_block_device(first.copy.mount) else ""
