"""The cause that was known first stays: what it is derived from may change while the copies stay."""

import pytest
from mountwarden.cli.service_report import ServiceReport
from mountwarden.ledger import causes
from mountwarden.model import Cause, Finding, Holder, Kind
from mountwarden.report import build

from tests.support import reports
from tests.support.findings import changed, finding

FIRST, SECOND = Cause("mount-flags", "a.service has MountFlags=private."), Cause("root-private", "It is private.")
UNKNOWN = Cause("not-known", "The cause is not known: it does receive umounts.")


@pytest.mark.parametrize(
    ("old", "new", "kept"),
    [
        (FIRST, SECOND, FIRST),
        (FIRST, UNKNOWN, FIRST),
        (FIRST, None, FIRST),
        (UNKNOWN, SECOND, SECOND),
        (UNKNOWN, None, UNKNOWN),
        (None, UNKNOWN, UNKNOWN),
        (None, None, None),
    ],
)
def test_the_earlier_one_is_kept_unless_it_is_not_known(old: Cause | None, new: Cause | None, kept: Cause) -> None:
    assert causes.better(old, new) == kept


def of(unit: str, namespace: int = 42, cause: Cause | None = None, kind: Kind = Kind.LEAKED) -> Finding:
    return finding(namespace=namespace, holders=(Holder(7, "x", unit),), cause=cause, kind=kind)


def test_it_is_that_of_the_same_root_and_namespace_while_that_is_there() -> None:
    known = causes.learned((), [of("a.service", cause=FIRST), of("a.service", cause=SECOND)], None)
    ones = [of("a.service"), of("a.service", cause=UNKNOWN), of("b.service"), of("a.service", namespace=43)]
    ones += [of("a.service", cause=SECOND), of("a.service", kind=Kind.PINNED)]
    assert [one.cause for one in causes.recalled(known, ones)] == [FIRST, FIRST, None, None, SECOND, None]
    assert causes.learned(known, (), {42}) == known
    assert causes.learned(known, (), {43}) == ()


def test_no_more_than_so_many_are_kept() -> None:
    ones = [of("a.service", namespace=number, cause=FIRST) for number in range(causes.MOST + 5)]
    known = causes.learned((), ones, None)
    assert (len(known), known[-1].namespace) == (causes.MOST, causes.MOST + 4)


def test_the_command_line_takes_it_from_the_service() -> None:
    theirs = ServiceReport(build.build(reports.facts([reports.finding()])))
    (one,) = theirs.as_known([changed(reports.finding(), cause=None)])
    assert one.cause == reports.finding().cause
    unknown = ServiceReport(build.build(reports.facts([reports.finding(cause=UNKNOWN)])))
    (one,) = unknown.as_known([changed(reports.finding(), cause=None)])
    assert one.cause is None, "it is asked for anew"
