"""Which remedies a finding has, in which order, who decides on each, and what may be pasted."""

from dataclasses import replace
from itertools import product

import pytest
from mountwarden.config.schema import Config, PolicyEntry, RootEntry
from mountwarden.ledger.entries import Decline
from mountwarden.model import (
    Action,
    Base,
    Copy,
    Evidence,
    Finding,
    FoundCopy,
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
from mountwarden.remedies.plan import after as plan_after

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
    assert (
        set(Action) - {Action.RESTART}
        == ACTIONS.keys()
        == apply._functions(frozenset(), lazy=False, also_unread=frozenset()).keys()
    )


def test_an_action_for_another_kind_of_finding_has_no_steps() -> None:
    kinds = {action: severed() if Kind.SEVERED not in spec.kinds else finding() for action, spec in ACTIONS.items()}
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


SPOT = Spot("8:1", b"/var/lib/docker/overlay2/X/merged")


def shared_spot(*others: str, history: bool = True, fstype: str = "overlay") -> Finding:
    """A leak in namespace 42, and mounts of these devices on its spot in 43 and on; with the history of 42 alone."""
    base = Base(host_root(), Spot("8:1", b"/var/lib/docker"), b"")
    match = Match(ROOT, base, LAYOUT, b"overlay2/X/merged", b"X", b"/var/lib/docker/overlay2/X/merged", SPOT)
    mounts = [layer(9 + n, 5, device=device, fstype=fstype) for n, device in enumerate(("0:40", *others))]
    parent = host_root(id=5, shared=0)
    copies = [
        Copy(42 + n, mount, parent, SPOT, match, match if history and not n else None) for n, mount in enumerate(mounts)
    ]
    target = Target(match, mounts[0], tuple(copies), tuple(copies), tuple(copies))
    named = tuple(FoundCopy(copy.namespace, None, copy.mount.id, reach=Reach.RMDIR, holders=(UNIT,)) for copy in copies)
    facts = {"copies": named, "spaces": len(copies), "count": len(copies), "target": target}
    return finding(**facts)


@pytest.mark.parametrize(
    ("one", "others"),
    [
        (shared_spot("0:40"), 0),
        (shared_spot("0:41"), 1),
        (shared_spot("0:40", "0:41", "0:42"), 2),
        (shared_spot("0:40", fstype="ext4"), 1),
        (shared_spot("0:40", fstype="ext4", history=False), 0),
    ],
    ids=["the same", "another", "some", "perhaps mounted anew", "as little known"],
)
def test_an_umount_comes_before_a_detach_that_would_take_other_mounts_along(one: Finding, others: int) -> None:
    assert one.target is not None
    assert len(one.target.others) == others
    remedies = plan(one, CONFIG).remedies[:2]
    order = [Action.DETACH, Action.UNMOUNT] if not others else [Action.UNMOUNT, Action.DETACH]
    assert [remedy.action for remedy in remedies] == order
    forced = Config(policies=(PolicyEntry(Action.DETACH, Policy.AUTO),))
    for config in (CONFIG, forced):
        (detach,) = (remedy for remedy in plan(one, config).remedies if remedy.action is Action.DETACH)
        assert detach.automatic == (not others)
        assert ("and would go too" in detach.reason) == bool(others)


def test_what_is_declined_is_followed_by_the_next_remedy() -> None:
    one, mixed = finding(holders=(UNIT,)), shared_spot("0:41")
    after = [plan_after(one, action, CONFIG) for action in (Action.DETACH, Action.UNMOUNT)]
    assert [remedy and remedy.command for remedy in after] == [
        f"mountwarden unmount {one.id}",
        "systemctl restart leaky.service",
    ]
    last = plan_after(mixed, Action.UNMOUNT, CONFIG)
    assert last is not None
    assert last.command == "systemctl restart leaky.service", "a detach would be declined as well"
    rejoin = plan_after(severed(), Action.REJOIN, CONFIG)
    assert rejoin is not None
    assert rejoin.command == "systemctl restart leaky.service"
    assert plan_after(finding(), Action.UNMOUNT, CONFIG) is None


def test_what_the_service_declined_keeps_its_command_and_says_why() -> None:
    one = finding(holders=(UNIT,))
    last = Decline(Action.DETACH, "in-use", "declined: the directory itself is in use", 10.0, 1.0)
    first, second, *_ = plan(one, CONFIG, Circumstances(declined={one.id: (last,)})).remedies
    assert (first.declined, first.automatic, first.command) == (True, False, f"mountwarden detach {one.id}")
    assert first.reason == "declined: the directory itself is in use; the service goes on trying"
    assert (second.action, second.declined) == (Action.UNMOUNT, False)
    assert not plan(one, CONFIG, Circumstances(declined={"mw-other": (last,)})).remedies[0].declined


@pytest.mark.parametrize(
    ("units", "more", "automatic"),
    [
        (("leaky.service",), 0, {Policy.AUTO: True, Policy.ASK: False, Policy.OFF: False}),
        (("leaky.service", "leaky.service"), 0, {Policy.AUTO: True, Policy.ASK: False, Policy.OFF: False}),
        (("leaky.service", "b.service"), 0, {Policy.AUTO: False, Policy.ASK: False, Policy.OFF: False}),
        (("leaky.service",), 1, {Policy.AUTO: False, Policy.ASK: False, Policy.OFF: False}),
        (("b.service",), 0, {Policy.AUTO: False, Policy.ASK: False, Policy.OFF: False}),
    ],
)
def test_a_policy_for_a_unit_permits_what_is_all_of_that_unit_and_forbids_what_is_partly_its(
    units: tuple[str, ...], more: int, automatic: dict[Policy, bool]
) -> None:
    copies = tuple(
        FoundCopy(42 + n, reach=Reach.INSIDE, holders=(Holder(10, "x", unit),)) for n, unit in enumerate(units)
    )
    one = finding(copies=copies, spaces=len(copies) + more)
    told = {}
    for policy in Policy:
        config = Config(
            policies=(
                PolicyEntry(Action.UNMOUNT, Policy.AUTO if policy is not Policy.AUTO else Policy.ASK, kind=Kind.LEAKED),
                PolicyEntry(Action.UNMOUNT, policy, unit="leaky.service"),
            )
        )
        told[policy] = plan(one, config).remedies[0].automatic
    involved = "leaky.service" in units
    assert told == (automatic if involved else {Policy.AUTO: False, Policy.ASK: True, Policy.OFF: True})


def test_each_unit_is_named_with_what_it_frees_and_at_most_five() -> None:
    held = [FoundCopy(50 + n, reach=Reach.INSIDE, holders=(Holder(100 + n, "x", f"u{n}.service"),)) for n in range(7)]
    held.append(FoundCopy(60, reach=Reach.INSIDE, holders=(Holder(90, "x", "u3.service"),)))
    held.append(FoundCopy(HOME, reach=Reach.INSIDE, holders=(Holder(91, "x", "u0.service"),)))
    one = finding(copies=tuple(held), spaces=300)
    restarts = [remedy for remedy in plan(one, CONFIG).remedies if remedy.action is Action.RESTART]
    assert [remedy.command for remedy in restarts] == [f"systemctl restart u{n}.service" for n in (1, 2, 4, 5, 6)]
    assert restarts[0].reason.endswith("gives it a new namespace, 1 of the 300 namespaces that hold it")
    assert restarts[-1].reason.endswith("; and 1 more hold it")


def test_what_is_not_proven_to_be_leaked_is_not_to_be_restarted() -> None:
    one = shared_spot("0:41")
    other = replace(one.copies[1], holders=(Holder(11, "x", "other.service"),))
    one = replace(one, copies=(one.copies[0], other))
    restarts = [remedy.command for remedy in plan(one, CONFIG).remedies if remedy.action is Action.RESTART]
    assert restarts == ["systemctl restart leaky.service"]


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
        (Circumstances(limited=True), "60 incidents were acted on within the last minute"),
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
