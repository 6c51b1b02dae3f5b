"""What is answered about one finding, as JSON: its explanation and its plan. Pure."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TypedDict, final

from ..escape import printable, sentence
from ..model import Action, Finding
from . import build, types


@final
class ExplainedJson(types.FindingJson):
    """A finding with the steps of each remedy, and what explain says beyond it; null where it was not asked for."""

    steps: dict[str, list[str]]
    background: types.BackgroundJson | None


@final
class OverJson(TypedDict):
    """Of a finding that no scan shows now, what the journal has."""

    id: str
    over: bool
    background: types.BackgroundJson


class PlannedRemedyJson(types.RemedyJson):
    """A remedy with what it would do, step by step."""

    steps: list[str]


class PlannedJson(TypedDict):
    """What would be done about a finding."""

    id: str
    kind: str
    severity: str
    mountpoint: str
    remedies: list[PlannedRemedyJson]


def explained(
    finding: types.FindingJson, steps: dict[str, list[str]], background: types.BackgroundJson | None
) -> ExplainedJson:
    """The explanation of a finding."""
    return {**finding, "steps": steps, "background": background}


def over(finding_id: str, background: types.BackgroundJson) -> OverJson:
    """The explanation of one that is over."""
    return {"id": finding_id, "over": True, "background": background}


def planned(finding: Finding, unread: Mapping[tuple[str, Action], Sequence[str]] = MappingProxyType({})) -> PlannedJson:
    """The remedies of a finding that `remedies.plan` has filled in, with their steps, and what `unread` has on those
    of namespaces that could not be read.
    """
    steps = build.steps(finding)
    for remedy in finding.remedies:
        steps[str(remedy.action)] += map(sentence, unread.get((finding.id, remedy.action), ()))
    return {
        "id": finding.id,
        "kind": str(finding.kind),
        "severity": str(finding.severity),
        "mountpoint": printable(finding.mountpoint),
        "remedies": [{**one, "steps": steps[one["action"]]} for one in build.remedies(finding)],
    }
