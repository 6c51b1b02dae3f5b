"""No remedy restarts or ends what lives in a home's mount namespace: every kind of finding, every kind of holder."""

import itertools
import re
from dataclasses import replace

import pytest
from mountwarden.config.schema import Config
from mountwarden.explain import cause
from mountwarden.explain.attribute import attribute
from mountwarden.explain.context import Context
from mountwarden.explain.lasting_fix import lasting_fix
from mountwarden.model import (
    Cause,
    Evidence,
    Finding,
    FoundCopy,
    Holder,
    Kind,
    Namespace,
    NamespaceKind,
    Picture,
    Reach,
    Severity,
    Tier,
    UnitFacts,
)
from mountwarden.mounts.roots import root_state
from mountwarden.remedies.plan import plan

from tests.unit.pictures import HOME, OTHER, ROOT, host_root, table

HOLDERS = {
    "process 1": Holder(1, "systemd", "init.scope"),
    "the engine's daemon": Holder(7, "dockerd", "docker.service"),
    "a service": Holder(8, "nginx", "nginx.service"),
    "a session": Holder(9, "bash", "session-3.scope", user=1000),
    "the manager of a user": Holder(10, "systemd", "user@1000.service", user=1000, user_unit="init.scope"),
    "a user's service": Holder(11, "portal", "user@1000.service", user=1000, user_unit="portal.service"),
    "a container": Holder(12, "sh", "docker-x.scope", container="0" * 64),
    "a process of no unit": Holder(13, "sleep"),
}
CODES = [value for name, value in vars(cause).items() if name.isupper() and isinstance(value, str)]
FORBIDDEN = re.compile(
    r"systemctl (--\S+ )*(restart|stop|kill)|\bkill\b|docker (stop|rm|restart)|restarting|ending|stopping"
)


def finding(kind: Kind, holder: Holder, namespace: int | None, reach: Reach) -> Finding:
    copy = FoundCopy(
        namespace, b"/var/lib/docker/overlay2/X/merged", 12, None, reach, NamespaceKind.SERVICE, None, (holder,)
    )
    return Finding(
        id="mw-0123456789",
        kind=kind,
        severity=Severity.WARNING,
        root=ROOT,
        mountpoint=b"/var/lib/docker/overlay2/X/merged",
        home=HOME,
        evidence=Evidence.HISTORY,
        copies=(copy,),
    )


def picture(*pids: int) -> Picture:
    state = root_state(ROOT, table(host_root()), HOME)
    spaces = {HOME: Namespace(HOME, pids), OTHER: Namespace(OTHER, ())}
    return Picture("boot", Tier.MOUNTINFO, (state,), spaces, (), 0)


def texts(known: Finding) -> list[str]:
    said = [text for one in plan(known, Config()).remedies for text in (one.reason, one.command or "")]
    around = Context(unit=UnitFacts(id=known.holders[0].unit or "x.service"))
    fixes = [lasting_fix(Cause(code, ""), known, around) for code in CODES]
    return said + [command for fix in fixes if fix for command in fix.commands]


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("who", HOLDERS)
def test_what_lives_in_home_is_neither_ended_nor_started_anew(kind: Kind, who: str) -> None:
    holder = replace(HOLDERS[who], at_home=True)
    for namespace, reach in itertools.product((HOME, OTHER, None), Reach):
        said = texts(finding(kind, holder, namespace, reach))
        assert [text for text in said if FORBIDDEN.search(text)] == []


def test_the_same_elsewhere_is() -> None:
    """Else the test above could not fail."""
    said = texts(finding(Kind.LEAKED, HOLDERS["a service"], OTHER, Reach.INSIDE))
    assert any("systemctl restart nginx.service" in text for text in said)
    assert any(
        "kill 13" in text for text in texts(finding(Kind.PINNED, HOLDERS["a process of no unit"], None, Reach.HOLDERS))
    )


def test_who_lives_in_a_home_is_known_by_its_namespace() -> None:
    own = finding(Kind.PINNED, Holder(999999, "gone"), None, Reach.HOLDERS)
    assert attribute(own, picture(999999)).holders[0].at_home
    assert not attribute(own, picture(5)).holders[0].at_home


@pytest.mark.parametrize(("pids", "named"), [((1, 8), [1]), ((7, 8), [1, 8])])
def test_for_the_host_s_own_namespace_stands_process_1(pids: tuple[int, ...], named: list[int]) -> None:
    own = finding(Kind.STACKED, HOLDERS["process 1"], HOME, Reach.INSIDE)
    own = replace(own, copies=(replace(own.first, holders=(HOLDERS["process 1"], HOLDERS["a service"])),))
    found = attribute(own, picture(*pids)).holders
    assert [holder.pid for holder in found if holder.at_home] == named
