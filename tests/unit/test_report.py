"""The report against its schema: every field there, of its type, and nothing that the schema does not name."""

import copy
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mountwarden import model
from mountwarden.escape import seconds, timestamp
from mountwarden.model import Gap, RootState, Severity
from mountwarden.mounts.mountinfo import propagation
from mountwarden.output import report_file, report_text
from mountwarden.output.terminal import Terminal
from mountwarden.report import build as report

from tests.support.reports import DOCKER, NOW, facts, finding, mount

VALIDATOR = jsonschema.Draft202012Validator(report_file.schema())


def closed(schema: Any) -> Any:
    """The schema with no room for a field that it does not name; the shipped one has it: fields may be added."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(part) for key, part in schema.items()}
    if "properties" in schema and "additionalProperties" not in schema and "type" in schema:
        inner["additionalProperties"] = False
    return inner


CLOSED = jsonschema.Draft202012Validator(closed(report_file.schema()))


def full() -> dict[str, Any]:
    """A report in which no optional part is missing."""
    gap = Gap("the mounts of a namespace", "EACCES: Permission denied", 4026532501, 2)
    told = report.build(facts([finding(detail="a newer mount hides it")], gaps=(gap,), agent=(812, 60.0)))
    return dict(told)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(report_file.schema())


def test_a_full_report_is_valid() -> None:
    CLOSED.validate(full())


def test_an_empty_report_is_valid() -> None:
    CLOSED.validate(dict(report.build(facts([]))))


def paths(document: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where every field of the document is."""
    items: Any = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in items:
        yield (*at, key)
        yield from paths(value, (*at, key))


FIELDS = [path for path in paths(full()) if isinstance(path[-1], str) and "policy" not in path[:-1]]


def changed(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """The full report with one field set, or left out where the value is `...`."""
    document = copy.deepcopy(full())
    holder: Any = document
    for key in path[:-1]:
        holder = holder[key]
    if value is ...:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return document


@pytest.mark.parametrize("path", FIELDS, ids=lambda path: ".".join(map(str, path)))
def test_the_schema_catches_a_missing_and_a_retyped_field(path: tuple[Any, ...]) -> None:
    assert not VALIDATOR.is_valid(changed(path, ...)), "missing"
    assert not VALIDATOR.is_valid(changed(path, ["of another type"])), "retyped"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("tier",), "guess"),
        (("taken",), "yesterday"),
        (("findings", 0, "id"), "mw-1"),
        (("findings", 0, "mountpoint"), "a\x1b[31m"),
        (("findings", 0, "device"), "sda"),
        (("findings", 0, "copies", 0, "holders", 0, "pid"), 0),
        (("findings", 0, "copies", 0, "mount_id", "unique"), 1.5),
        (("roots", 0, "policy"), {"detach": "maybe"}),
        (("roots", 0, "policy"), {"explode": "ask"}),
    ],
)
def test_the_schema_knows_what_may_stand_where(path: tuple[Any, ...], value: Any) -> None:
    assert not VALIDATOR.is_valid(changed(path, value))


OPTIONAL_BYTES = st.none() | st.binary(max_size=12)
OPTIONAL_NUMBER = st.none() | st.integers(0, 2**64 - 1)
HOLDERS = st.builds(
    model.Holder,
    pid=st.integers(1, 2**22),
    comm=st.text(max_size=8),
    unit=st.none() | st.text(max_size=12),
    container=st.none() | st.text(max_size=12),
    user=st.none() | st.integers(0, 2**32 - 1),
)
FINDINGS = st.builds(
    finding,
    id=st.from_regex(r"mw-[0-9a-f]{10}", fullmatch=True),
    kind=st.sampled_from(model.Kind),
    severity=st.sampled_from(Severity),
    spot=st.none() | st.builds(model.Spot, st.just("0:1"), st.binary(max_size=8)),
    layer=OPTIONAL_BYTES,
    mountpoint=st.binary(max_size=40),
    seen_at=OPTIONAL_BYTES,
    namespace=OPTIONAL_NUMBER,
    namespace_id=OPTIONAL_NUMBER,
    namespace_kind=st.none() | st.sampled_from(model.NamespaceKind),
    fstype=st.text(max_size=6),
    mount_id=OPTIONAL_NUMBER,
    unique_id=OPTIONAL_NUMBER,
    evidence=st.none() | st.sampled_from(model.Evidence),
    reach=st.none() | st.sampled_from(model.Reach),
    count=st.integers(1, 10**6),
    detail=st.text(max_size=10),
    holders=st.lists(HOLDERS, max_size=3).map(tuple),
    cause=st.none() | st.builds(model.Cause, st.just("not-known"), st.text(max_size=20)),
    remedies=st.lists(
        st.builds(
            model.Remedy, st.sampled_from(model.Action), st.booleans(), st.text(max_size=9), st.none() | st.just("x")
        ),
        max_size=3,
    ).map(tuple),
    confirmed=st.booleans(),
    silenced=st.booleans(),
    since=st.none() | st.floats(0, 4e9),
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(FINDINGS, max_size=4))
def test_whatever_is_found_makes_a_valid_report(findings: list[model.Finding]) -> None:
    told = report.build(facts(findings))
    CLOSED.validate(dict(told))
    assert told["summary"]["findings"] == sum(told["summary"]["by_kind"].values()) == len(findings)


def test_the_worst_comes_first_and_the_quiet_last() -> None:
    told = report.build(
        facts(
            [
                finding(id="mw-0000000001", severity=Severity.INFO),
                finding(id="mw-0000000002", confirmed=False),
                finding(id="mw-0000000003"),
                finding(id="mw-0000000004", severity=Severity.CRITICAL),
                finding(id="mw-0000000005", silenced=True),
            ]
        )
    )
    assert [one["id"][-1] for one in told["findings"]] == ["4", "3", "2", "5", "1"]


@pytest.mark.parametrize(
    ("findings", "fail_on", "wanted"),
    [
        ([], Severity.WARNING, 0),
        ([finding()], Severity.WARNING, 1),
        ([finding()], Severity.CRITICAL, 0),
        ([finding(severity=Severity.CRITICAL)], Severity.CRITICAL, 1),
        ([finding(severity=Severity.INFO)], Severity.WARNING, 0),
        ([finding(severity=Severity.INFO)], Severity.INFO, 0),
        ([finding(confirmed=False)], Severity.WARNING, 0),
        ([finding(silenced=True)], Severity.WARNING, 0),
    ],
)
def test_exit_status(findings: list[model.Finding], fail_on: Severity, wanted: int) -> None:
    assert report.status(report.build(facts(findings)), fail_on) == wanted


def test_where_the_host_was_not_seen_nothing_is_called_right() -> None:
    unseen = report.build(facts([], gaps=(Gap(report.HOST, "PID 1 here is a container's own"),)))
    assert (report.status(unseen), unseen["complete"]) == (2, False)
    text = report_text.render(unseen, report_text.View(Terminal(100), NOW, about="docker"))
    assert text.startswith("● could not tell what is wrong on vm1\n")
    assert report.status(report.build(facts([finding()], gaps=(Gap(report.HOST, "x"),)))) == 1


def test_exit_status_when_it_could_not_tell() -> None:
    picture = facts([]).picture
    blind = RootState(DOCKER, None, None, status="its home could not be read")
    seeing = RootState(DOCKER, 4026531841, mount())

    def of(*roots: RootState, **changes: Any) -> report.types.ReportJson:
        return report.build(facts([], picture=model.Picture(**{**_fields(picture), "roots": roots}), **changes))

    assert report.status(of(blind)) == 2
    assert report.status(of(blind, seeing)) == 0
    assert report.status(of()) == 0, "nothing to guard"
    gap = of(seeing, gaps=(Gap("x", "EACCES"),))
    assert (report.status(gap), report.status(gap, strict=True)) == (0, 2)
    assert gap["complete"] is False


def _fields(picture: model.Picture) -> dict[str, Any]:
    return {name: getattr(picture, name) for name in picture.__dataclass_fields__}


def test_select_counts_anew() -> None:
    told = report.build(facts([finding(), finding(id="mw-0000000001", kind=model.Kind.SEVERED)]))
    some = report.select(told, lambda one: one["kind"] == "severed")
    assert (some["summary"]["findings"], some["summary"]["by_kind"]["leaked"]) == (1, 0)
    assert some["summary"]["mounts"] == told["summary"]["mounts"]


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, "shared"),
        ({"shared": 0}, "private"),
        ({"master": 7}, "shared,slave"),
        ({"shared": 0, "master": 7}, "slave"),
        ({"shared": 0, "unbindable": True}, "unbindable"),
    ],
)
def test_propagation_in_words(changes: dict[str, Any], wanted: str) -> None:
    assert propagation(mount(**changes)) == wanted


def test_timestamps_come_back() -> None:
    assert timestamp(NOW) == "2026-09-21T14:13:20.000Z"
    assert seconds(timestamp(NOW + 0.25)) == NOW + 0.25
