"""Which remedies a finding has, in which order, who decides on each, and what may be pasted."""

from dataclasses import replace
from itertools import product

import pytest
from mountwarden.config.schema import Config, PolicyEntry, RootEntry
from mountwarden.model import (
    Action,
    Base,
    Copy,
    Evidence,
    Finding,
    Holder,
    Kind,
    Layout,
    Match,
    NamespaceKind,
    Policy,
    Reach,
    Severity,
    Spot,
    Target,
)
from mountwarden.remedies import apply
from mountwarden.remedies.actions import ACTIONS, describe
from mountwarden.remedies.plan import Circumstances, named_units, plan

from tests.support.findings import CONFIG, ROOT, changed, finding
from tests.unit.pictures import host_root, layer

UNIT = Holder(10, "leaky", "leaky.service")
LAYOUT = Layout(b"overlay2/*/merged", "overlay")


def severed(*, shared: int = 1, copies_master: int = 0, kind: NamespaceKind = NamespaceKind.SERVICE) -> Finding:
    base = Base(host_root(shared=shared), Spot("8:1", b"/var/lib/docker"), b"")
    spot = Spot("8:1", b"/var/lib/docker/overlay2/X/merged")
    match = Match(ROOT, base, LAYOUT, b"overlay2/X/merged", b"X", b"/var/lib/docker/overlay2/X/merged", spot)
    parent = host_root(id=5, master=copies_master, shared=0)
    target = Target(match, layer(9, 5), (Copy(42, layer(9, 5), parent, spot, match),))
    facts = {"kind": Kind.SEVERED, "severity": Severity.INFO, "evidence": Evidence.SPOT, "reach": None}
    return finding(holders=(UNIT,), namespace_kind=kind, target=target, **facts)


def told(one: Finding, config: Config = CONFIG) -> list[tuple[str, bool, str | None]]:
    return [(r.action.value, r.automatic, r.command) for r in plan(one, config).remedies]


def test_a_severed_service_is_rejoined_before_it_is_restarted() -> None:
    one = severed()
    assert told(one) == [
        ("rejoin", False, f"mountwarden rejoin {one.id}"),
        ("restart", False, "systemctl restart leaky.service"),
    ]
    assert "EBUSY" in plan(one, CONFIG).remedies[0].reason
    assert "EBUSY" in describe(one, Action.REJOIN)[-1]


def test_each_action_that_is_not_advice_is_known_and_carried_out() -> None:
    assert set(Action) - {Action.RESTART} == ACTIONS.keys() == apply._functions(frozenset()).keys()


def test_an_action_for_another_kind_of_finding_has_no_steps() -> None:
    kinds = {action: severed() if spec.kind is not Kind.SEVERED else finding() for action, spec in ACTIONS.items()}
    assert [describe(one, action) for action, one in kinds.items()] == [[]] * len(ACTIONS)


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (severed(kind=NamespaceKind.CONTAINER), "only services are rejoined"),
        (severed(copies_master=3), "another master"),
        (severed(shared=0), "share it first"),
    ],
)
def test_a_rejoin_that_must_fail_is_not_offered_and_says_why(one: Finding, why: str) -> None:
    first = plan(one, CONFIG).remedies[0]
    assert (first.action, first.command) == (Action.REJOIN, None)
    assert why in first.reason


def test_a_rejoin_is_automatic_only_by_a_policy_for_its_unit() -> None:
    everything = Config(policies=(PolicyEntry(Action.REJOIN, Policy.AUTO),))
    named = Config(policies=(PolicyEntry(Action.REJOIN, Policy.AUTO, unit="leaky.service"),))
    other = Config(policies=(PolicyEntry(Action.REJOIN, Policy.AUTO, unit="other.service"),))
    assert [told(severed(), config)[0][1] for config in (everything, named, other)] == [False, True, False]
    assert [named_units(config) for config in (everything, named)] == [frozenset(), {"leaky.service"}]


def test_a_roots_policy_speaks_of_share_and_detach_alone() -> None:
    config = Config(roots=(RootEntry(ROOT.path, policy=Policy.AUTO),))
    assert told(finding(reach=Reach.INSIDE), config)[0][:2] == ("unmount", False)
    assert told(finding(), config)[0][:2] == ("detach", True)


PROVED = {
    Action.DETACH: finding(holders=(UNIT,)),
    Action.UNMOUNT: finding(holders=(UNIT,), reach=Reach.INSIDE),
    Action.SHARE: finding(holders=(UNIT,), kind=Kind.PRIVATE_ROOT, evidence=None, reach=None),
    Action.REJOIN: severed(),
}
UNPROVED = [
    ({"evidence": Evidence.RECORD}, "the engine's record speaks of the container, not of this mount"),
    ({"evidence": Evidence.SPOT}, "nothing but the spot says that it is leaked"),
    ({"evidence": Evidence.CLAIMED}, None),
]
"""What is no proof of a leak, and the reason that is told; None: no act is offered."""
AWAY = ({"root": replace(ROOT, home_known=False)}, "docker is not running, so its view of the root is not known")
DOUBTS = {
    Action.DETACH: [*UNPROVED, AWAY],
    Action.UNMOUNT: [*UNPROVED, AWAY],
    Action.SHARE: [AWAY],
    Action.REJOIN: [AWAY],
}
SAID = [*(("policy", action) for action in PROVED), ("root", Action.SHARE), ("root", Action.DETACH)]
"""Which table decides on which action."""


def decided(by: str, one: Finding, action: Action) -> list[tuple[bool, str, bool] | None]:
    """By auto, ask and off in that table: is the act automatic, why, and is its command told? None: not offered."""
    told = []
    for policy in Policy:
        entries = {
            "policy": Config(policies=(PolicyEntry(action, policy, unit="leaky.service"),)),
            "root": Config(roots=(RootEntry(ROOT.path, policy=policy),)),
        }
        remedies = plan(one, entries[by]).remedies
        told.append(
            next(((r.automatic, r.reason, r.command is not None) for r in remedies if r.action is action), None)
        )
    return told


@pytest.mark.parametrize(("by", "action"), SAID)
def test_a_policy_decides_where_evidence_and_home_leave_no_doubt(by: str, action: Action) -> None:
    assert decided(by, PROVED[action], action) == [
        (True, "the policy for it is auto", True),
        (False, "the policy for it is ask", True),
        (False, "the policy for it is off", False),
    ]


@pytest.mark.parametrize(
    ("by", "action", "doubt", "why"), [(by, action, *doubt) for by, action in SAID for doubt in DOUBTS[action]]
)
def test_auto_never_overrules_evidence_nor_an_unknown_home(
    by: str, action: Action, doubt: dict[str, object], why: str | None
) -> None:
    one = changed(PROVED[action], **doubt)
    never = [(False, why, True), (False, "the policy for it is ask", True), (False, "the policy for it is off", False)]
    assert decided(by, one, action) == (never if why else [None] * 3)


def test_what_a_detach_does_not_reach_is_unmounted_inside() -> None:
    one = finding(reach=Reach.INSIDE, holders=(UNIT,))
    assert [action for action, _auto, _command in told(one)] == ["unmount", "restart"]
    assert told(finding(reach=Reach.INSIDE, evidence=Evidence.CLAIMED, holders=(UNIT,))) == []


@pytest.mark.parametrize(
    ("unit", "command"),
    [
        ("a.service", "systemctl restart a.service"),
        (r"dev\x2dx.service", r"systemctl restart 'dev\x2dx.service'"),
        ("-a.service", None),
        ("a;reboot.service", None),
        ("a\n.service", None),
        ("session-1.scope", "none at all"),
    ],
)
def test_a_unit_in_a_command_is_quoted_or_not_there(unit: str, command: str | None) -> None:
    commands = [told[2] for told in told(finding(holders=(Holder(10, "x", unit),))) if told[0] == "restart"]
    assert commands == ([] if command == "none at all" else [command])


def test_a_users_service_is_restarted_by_its_own_systemd() -> None:
    held = Holder(10, "x", "user@1000.service", user=1000, user_unit="app.service")
    assert told(finding(holders=(held,)))[-1][2] == "systemctl --user --machine=1000@.host restart app.service"


HELD = (
    Holder(30, "many", "b.service"),
    Holder(31, "many", "b.service"),
    Holder(40, "one", "a.service"),
    Holder(50, "bash", "session-3.scope"),
    Holder(60, "app", "docker-x.scope", "f" * 64),
)


def test_what_is_pinned_names_who_to_restart_the_least_disturbing_first() -> None:
    remedies = plan(finding(kind=Kind.PINNED, reach=Reach.HOLDERS, holders=HELD), CONFIG).remedies
    assert [remedy.command for remedy in remedies] == [
        "systemctl restart a.service",
        "systemctl restart b.service",
        "kill 50",
        None,
    ]
    assert [remedy.automatic for remedy in remedies] == [False] * 4
    assert "process 40 (one)" in remedies[0].reason
    assert "process 30 (many), process 31 (many)" in remedies[1].reason
    assert remedies[2].reason == "ending process 50 (bash) of session-3.scope closes what it holds open"


def test_an_orphan_is_ended_by_its_scope() -> None:
    (remedy,) = plan(finding(kind=Kind.ORPHANED, reach=Reach.HOLDERS, holders=HELD[4:]), CONFIG).remedies
    assert remedy.command == "systemctl stop docker-x.scope"
    assert "process 60 (app)" in remedy.reason


def test_a_stack_is_never_acted_on() -> None:
    one = finding(kind=Kind.STACKED, evidence=None, reach=None, holders=(UNIT, Holder(11, "sh", "session-1.scope")))
    assert told(one) == [("restart", False, "systemctl restart leaky.service"), ("restart", False, None)]
    assert told(changed(one, holders=())) == []


INIT = Holder(1, "systemd", "init.scope")
HOME = 1
"""The inode of the home of what `finding` makes."""


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize(
    ("namespace", "holders"),
    [
        (HOME, (INIT, *HELD)),
        (HOME, HELD),
        (HOME, ()),
        (42, (INIT,)),
        (42, (INIT, *HELD)),
        (42, (*HELD, replace(INIT, unit="systemd.service"))),
        (42, (replace(INIT, container="f" * 64),)),
        (None, (INIT,)),
        (None, (UNIT, INIT)),
    ],
)
def test_what_lives_at_home_or_with_process_1_is_never_to_be_restarted_or_ended(
    kind: Kind, namespace: int | None, holders: tuple[Holder, ...]
) -> None:
    one = finding(kind=kind, namespace=namespace, home=HOME, holders=holders)
    for reach, space in product((None, *Reach), (None, *NamespaceKind)):
        remedies = plan(changed(one, reach=reach, namespace_kind=space), CONFIG).remedies
        assert [r.command for r in remedies if r.command and not r.command.startswith("mountwarden ")] == []
        assert [r.reason for r in remedies if r.action is Action.RESTART or "ending" in r.reason] == []


def test_a_home_that_is_not_known_is_nobody_s_namespace() -> None:
    one = finding(kind=Kind.PINNED, namespace=None, home=None, reach=Reach.HOLDERS, holders=(UNIT,))
    assert told(one) == [("restart", False, "systemctl restart leaky.service")]


@pytest.mark.parametrize(
    ("now", "why"),
    [
        (Circumstances(paused=True), "actions are paused"),
        (Circumstances(attempted=frozenset({finding().id})), "it was tried once already"),
        (Circumstances(given_up=frozenset({ROOT.path})), "too many attempts failed under this root"),
        (Circumstances(limited=True), "60 actions were taken within the last minute"),
        (Circumstances(observing=True), "the mode is observe"),
    ],
)
def test_what_holds_the_service_back_is_told_and_leaves_the_command(now: Circumstances, why: str) -> None:
    detach = plan(finding(), CONFIG, now).remedies[0]
    assert (detach.automatic, detach.reason, detach.command) == (False, why, f"mountwarden detach {finding().id}")


@pytest.mark.parametrize(
    ("engine", "setting"),
    [("docker", "Docker 18.03"), ("containers-storage", "skip_mount_home"), ("custom", 'policy = "off"')],
)
def test_a_root_that_is_shared_no_more_names_the_setting_that_ends_it(engine: str, setting: str) -> None:
    root = replace(ROOT, engine=engine)
    private = finding(
        kind=Kind.PRIVATE_ROOT, root=root, reach=None, seen_at=root.path, mountpoint=root.path, evidence=Evidence.SPOT
    )
    config = Config(policies=(PolicyEntry(Action.SHARE, Policy.AUTO),))
    assert plan(private, config).remedies[0].automatic
    made_private_again = plan(private, config, Circumstances(made_private_again=frozenset({root.path}))).remedies[0]
    assert not made_private_again.automatic
    assert setting in made_private_again.reason
    assert plan(finding(root=root), CONFIG, Circumstances(made_private_again=frozenset({root.path}))).remedies[
        0
    ].automatic == (engine != "containers-storage")
