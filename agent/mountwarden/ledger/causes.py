"""The causes that were known first: what they are derived from may change while the copies stay. Pure."""

from collections.abc import Collection, Iterable
from dataclasses import replace

from ..model import Cause, Finding, Kind, chief
from .entries import SpaceCause

MOST = 1000
"""Causes that are kept."""


def better(old: Cause | None, new: Cause | None) -> Cause | None:
    """The earlier one, which is of the time when the copies were left, unless it is not known and the later one is."""
    if old is None or (new is not None and new.is_known and not old.is_known):
        return new
    return old


def learned(
    known: tuple[SpaceCause, ...], findings: Iterable[Finding], namespaces: Collection[int] | None
) -> tuple[SpaceCause, ...]:
    """With what the findings add, but for namespaces that are none of `namespaces` any more."""
    kept = [one for one in known if namespaces is None or one.namespace in namespaces]
    places = {_place(one) for one in kept}
    for finding in findings:
        place = _place_of(finding)
        if place is not None and finding.cause and finding.cause.is_known and place not in places:
            places.add(place)
            kept.append(SpaceCause(*place, finding.cause))
    return tuple(kept[-MOST:])


def recalled(known: Iterable[SpaceCause], findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings, each with the cause that was known first of its root and namespace where its own is not known."""
    places: dict[_Place | None, Cause] = {_place(one): one.cause for one in known}
    if not places:
        return tuple(findings)
    return tuple(
        finding
        if finding.cause and finding.cause.is_known
        else replace(finding, cause=places.get(_place_of(finding), finding.cause))
        for finding in findings
    )


_Place = tuple[bytes, int, str | None]


def _place(known: SpaceCause) -> _Place:
    return known.root, known.namespace, known.unit


def _place_of(finding: Finding) -> _Place | None:
    """The place of its first copy; None where it is about no mount that propagation could have reached."""
    if finding.first.namespace is None or finding.kind not in (Kind.LEAKED, Kind.SEVERED):
        return None
    holder = chief(finding.first.holders)
    return finding.root.path, finding.first.namespace, (holder.user_unit or holder.unit) if holder else None
