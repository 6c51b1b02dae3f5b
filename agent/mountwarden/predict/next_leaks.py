"""Who will leak the next mount, before it happens: each namespace that is cut off from a root, why, and the remedy.

Effective, not configured: the peers and masters of the mounts that show the root decide (mounts/exposure.py).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ..escape import printable
from ..explain import cause as causes
from ..explain import gather, holders
from ..explain import lasting_fix as advice
from ..explain.context import system_service
from ..explain.members import Members
from ..model import Cause, Finding, FoundCopy, Gap, Kind, Namespace, NamespaceKind, Picture, UnitFacts
from ..mounts.exposure import Exposure, Relation
from ..mounts.table import join
from ..systemd import units

_BY_BIND = (causes.PRIVATE_BIND, causes.SLAVE_NOT_EFFECTIVE)
_RECUR = (causes.MOUNT_FLAGS, *_BY_BIND)
"""Causes that come back with the next start of the unit or container."""

_PRETENDED = b"_"
"""A name below the root, for the path of a mount that is not there yet."""


@dataclass(frozen=True, slots=True)
class NextLeak:
    """One namespace that is cut off from the mount of home, for one cause; several roots may have it in common."""

    namespace: int
    """Its inode."""
    who: Members
    sights: tuple[Exposure, ...]
    cause: Cause | None
    fix: str | None
    """The lasting fix, as text."""

    @property
    def leaks(self) -> int:
        """Copies of live mounts that will stay there when home unmounts them, without that being intended."""
        return sum(sight.leaks for sight in self.sights)

    @property
    def kept(self) -> int:
        """All copies that will stay, those too for which that is intended."""
        return sum(sight.kept for sight in self.sights)

    @property
    def at_home(self) -> bytes | None:
        """Where home itself has the root mounted a second time; None for another namespace."""
        return self.sights[0].mount.point if self.sights[0].at_home else None

    @property
    def recurs(self) -> bool:
        """Whether it will be cut off again after a restart."""
        private = any(not sight.base.mount.shared for sight in self.sights)
        return self.cause is not None and (self.cause.code in _RECUR or (private and not self.on_purpose))

    @property
    def on_purpose(self) -> bool:
        """Whether all its roots are private on purpose, by engines that remove the mountpoint themselves."""
        return all(sight.on_purpose for sight in self.sights)


def predict_leaks(found: Iterable[Exposure], picture: Picture) -> tuple[tuple[NextLeak, ...], tuple[Gap, ...]]:
    """Those that are cut off, the most copies first, and what could not be asked about them.

    This reads who is in each such namespace, unit files and containers' configurations, and asks PID 1 once.
    """
    found = [sight for sight in found if sight.relation is Relation.CUT_OFF]
    cut = [sight for sight in found if not sight.at_home]
    members = {inode: who(inode, picture) for inode in dict.fromkeys(sight.namespace for sight in cut)}
    findings = [_finding(sight, members[sight.namespace]) for sight in cut]
    services = {system_service(finding) for finding in findings} - {None}
    answers = units.units_facts({name for name in services if name})
    grouped: dict[tuple[object, ...], NextLeak] = _at_home(sight for sight in found if sight.at_home)
    gaps: dict[Gap, None] = {}
    for sight, finding in zip(cut, findings, strict=True):
        one, more = _one(sight, finding, members[sight.namespace], answers)
        gaps |= dict.fromkeys(more)
        key = _key(one)
        known = grouped.get(key)
        grouped[key] = one if known is None else replace(known, sights=(*known.sights, *one.sights))
    return tuple(sorted(grouped.values(), key=lambda one: -one.leaks)), tuple(gaps)


def _at_home(found: Iterable[Exposure]) -> dict[tuple[object, ...], NextLeak]:
    """Second mounts of a root in home itself, each with what it holds. Who made them is not known."""
    nobody = Members(NamespaceKind.PROCESS)
    by_view: dict[tuple[object, ...], NextLeak] = {}
    for sight in found:
        if sight.copies:
            key = ("at home", sight.above[0].id)
            known = by_view.get(key)
            view = printable(sight.mount.point)
            fix = f"Unmount it (umount -R {view}), or let umounts reach it: mount --make-rslave {view}"
            sights = (sight,) if known is None else (*known.sights, sight)
            by_view[key] = NextLeak(sight.namespace, nobody, sights, None, fix)
    return by_view


def _key(one: NextLeak) -> tuple[object, ...]:
    """Roots that are cut off for one reason are reported as one; each bind mount of a container has its own remedy."""
    code = one.cause.code if one.cause else None
    return one.namespace, code, one.on_purpose, one.fix if code in _BY_BIND else None


def who(inode: int, picture: Picture) -> Members:
    """Who is in a namespace of the picture."""
    return holders.members(picture.namespaces.get(inode) or Namespace(inode))


def _one(
    sight: Exposure, finding: Finding, members: Members, answers: Mapping[str, UnitFacts | Gap]
) -> tuple[NextLeak, tuple[Gap, ...]]:
    service = system_service(finding)
    answer = answers.get(service) if service else None
    around, gaps = gather.around(finding, sight.above, sight.base.mount, answer)
    cause = causes.explain(finding, around)
    fix = advice.lasting_fix(cause, finding, around) if cause else None
    return NextLeak(sight.namespace, members, (sight,), cause, str(fix) if fix else None), gaps


def _finding(sight: Exposure, members: Members) -> Finding:
    """The leak to come: of a mount that the engine has, or will have, somewhere below the exposed root."""
    found = Finding.of(
        Kind.SEVERED,
        sight.root,
        sight.mount,
        mountpoint=join(join(sight.root.path, sight.part), _PRETENDED),
        namespace=sight.namespace,
        home=sight.root.home,
        spot=sight.base.spot,
    )
    at = join(sight.at, _PRETENDED)
    copy = FoundCopy(sight.namespace, at, namespace_kind=members.kind, holders=members.holders)
    return replace(found, copies=(copy,))
