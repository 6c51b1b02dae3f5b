"""What is in use, and not leaked, as documents and texts say it."""

from mountwarden.config.schema import Config
from mountwarden.model import Action, FoundCopy, Given, Kind, MountClass, Severity
from mountwarden.output import phrases
from mountwarden.remedies.plan import plan
from mountwarden.report.build import finding_json

from tests.support import reports

GIVEN = Given("container 0123456789ab", b"/da\nta", "docker stop 0123456789ab")
USED = FoundCopy(42, b"/data", 7, given=GIVEN)
LEFT = FoundCopy(43, b"/mnt", 8)


def test_a_copy_says_who_was_given_it_and_where() -> None:
    found = reports.finding(copies=(LEFT, USED))
    document = finding_json(found)
    assert [copy["given"] for copy in document["copies"]] == [None, "container 0123456789ab as /da\\x0ata"]
    assert not phrases.in_use(document)
    assert phrases.wrong(document).startswith("leaked: ")


def test_where_all_were_given_it_it_is_in_use() -> None:
    found = reports.finding(copies=(USED,), mount_class=MountClass.VOLUME, severity=Severity.INFO)
    text = phrases.wrong(finding_json(found))
    assert text == "in use: volume unmounted on the host, and given on purpose to what uses it"


def test_the_one_remedy_is_to_stop_who_uses_it() -> None:
    found = plan(reports.finding(copies=(USED,), target=None), Config())
    assert [(one.action, one.command) for one in found.remedies] == [(Action.RESTART, GIVEN.stop)]
    assert found.kind is Kind.LEAKED
