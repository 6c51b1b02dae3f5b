"""The lines of `mountwarden doctor`: each from facts made by hand."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
from mountwarden import __version__
from mountwarden.cli import doctor as command
from mountwarden.cli import status as status_command
from mountwarden.config.schema import ENGINES, Config
from mountwarden.doctor import canary, engines, kernel, roots, system, units
from mountwarden.doctor import examine as examination
from mountwarden.doctor.check import Check, Status
from mountwarden.doctor.examine import Asked, Examination, examine
from mountwarden.doctor.running import EngineRunning
from mountwarden.engines.programs import PROGRAMS
from mountwarden.errors import ConfigError, MountwardenError
from mountwarden.explain import lasting_fix
from mountwarden.explain.members import Members
from mountwarden.kernel import syscalls
from mountwarden.model import (
    MS_PRIVATE,
    Cause,
    Gap,
    Holder,
    Kind,
    NamespaceKind,
    Picture,
    RootState,
    SuperblockTest,
    Tier,
    UnitFacts,
)
from mountwarden.mounts.exposure import Exposure, Relation
from mountwarden.mounts.roots import root_state
from mountwarden.observe import tiers
from mountwarden.observe.capabilities import NEEDED, Interface
from mountwarden.observe.enter import own_namespace
from mountwarden.observe.exposed_texts import ExposedTexts
from mountwarden.output.journal_messages import IDS
from mountwarden.predict.next_leaks import NextLeak, predict_leaks
from mountwarden.systemd import unit_files
from mountwarden.systemd import units as bus

from tests.support.reports import finding
from tests.unit.pictures import HOME, OTHER, ROOT, host_root, layer, mount, table

LEAKY = Members(NamespaceKind.SERVICE, (Holder(4711, "sleep", unit="leaky.service"),))
STATE = root_state(ROOT, table(host_root(), layer(2, 1)), HOME)
CAUSE = Cause("mount-flags", "leaky.service has MountFlags=private, so umounts do not reach it.")
STATUS: dict[str, Any] = {
    "pid": 7,
    "mode": "act",
    "tier": "mountinfo",
    "version": __version__,
    "paused": None,
    "config_kept": None,
}


def sight(relation: Relation = Relation.CUT_OFF, copies: int = 2, **changes: Any) -> Exposure:
    there = mount(11, 10, "/", device="8:1")
    base = STATE.bases[0]
    return dataclasses.replace(
        Exposure(OTHER, ROOT, base, there, b"/var/lib/docker", b"", relation, (there,), copies), **changes
    )


def foreseen(*sights: Exposure, **changes: Any) -> NextLeak:
    return dataclasses.replace(NextLeak(OTHER, LEAKY, sights or (sight(),), CAUSE, "Write it."), **changes)


def only(checks: Any) -> Check:
    (check,) = checks
    return check  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("name", "number", "status"),
    [
        ("statmount(2)", None, Status.OK),
        ("statmount(2)", "ENOSYS", Status.OK),
        (NEEDED, "ENOSYS", Status.FAIL),
        ("statmount(2)", "EPERM", Status.WARN),
        ("statmount(2)", "EACCES", Status.WARN),
        (NEEDED, "EPERM", Status.FAIL),
    ],
)
def test_what_is_refused_is_told_from_what_is_not_there(name: str, number: str | None, status: Status) -> None:
    check = only(kernel.interfaces([Interface(name, number is None, number, "it works")]))
    assert check.status is status
    assert check.text == f"{name}: " + (f"{number}, it works" if number else "it works")
    assert (check.hint is None) == (number is None)
    assert ("as root" in (check.hint or "")) == (number in ("EPERM", "EACCES"))


ARM, FILTER = "this architecture has no ustat(2)", "ustat(2): EPERM, forbidden: a system call filter"


@pytest.mark.parametrize(
    ("way", "why", "status", "says"),
    [
        (SuperblockTest.USTAT, "ustat(2) works", Status.OK, "asks ustat(2) whether what the host unmounted lives on"),
        (SuperblockTest.INOTIFY, ARM, Status.OK, f"the host unmounted lives on elsewhere: {ARM}"),
        (SuperblockTest.INOTIFY, FILTER, Status.WARN, FILTER),
        (SuperblockTest.NONE, "4 children hang", Status.WARN, "reads all namespaces after an umount: 4 children hang"),
    ],
)
def test_what_says_whether_a_superblock_lives(way: SuperblockTest, why: str, status: Status, says: str) -> None:
    check = kernel.superblock_test(way, why, service=True)
    assert check.status is status
    assert check.text.startswith("the service ")
    assert says in check.text
    assert (check.hint is None) == (status is Status.OK)
    assert ("SystemCallFilter" in (check.hint or "")) == (why == FILTER)
    assert kernel.superblock_test(way, why, service=False).text == check.text.replace("the service", "a scan")


def test_of_a_running_service_it_is_what_that_says() -> None:
    said = {**STATUS, "superblock_test": "inotify", "superblock_test_reason": FILTER}
    assert examination._superblock_test(Asked(b"", said, running=True)) == ((SuperblockTest.INOTIFY, FILTER), True)
    for status, running in ((said, False), (STATUS, True), (MountwardenError("none"), False)):
        (way, why), of_service = examination._superblock_test(Asked(b"", status, running=running))
        assert (way is SuperblockTest.INOTIFY, of_service) == (syscalls.USTAT is None, False), why


def test_the_status_says_what_checks_umounts() -> None:
    said = {"superblock_test": "ustat", "superblock_test_reason": "ustat(2) works"}
    assert status_command._umounts(said) == ["umounts  checked by ustat (ustat(2) works)"]
    none = {"superblock_test": "none", "superblock_test_reason": "4 children hang"}
    assert status_command._umounts(none) == ["umounts  not checked, so all namespaces are read (4 children hang)"]
    assert status_command._umounts({}) == [], "an older service's"


@pytest.mark.parametrize("tier", Tier)
def test_the_status_says_what_comes_late(tier: Tier) -> None:
    assert bool(status_command._late({"tier": str(tier)})) == (tier is not Tier.EVENTS)


@pytest.mark.parametrize(("value", "status"), [("0", Status.FAIL), ("1", Status.OK), (None, Status.OK)])
def test_may_detach_mounts(tmp_path: Path, value: str | None, status: Status) -> None:
    if value is not None:
        (tmp_path / "fs").mkdir()
        (tmp_path / "fs/may_detach_mounts").write_text(f"{value}\n")
    check = kernel.may_detach(str(tmp_path))
    assert check.status is status
    assert (check.hint is not None and "sysctl fs.may_detach_mounts=1" in check.hint) == (status is Status.FAIL)


@pytest.mark.parametrize(
    ("most", "status"), [("100", Status.OK), ("3", Status.WARN), ("2", Status.FAIL), ("x", None)], ids=str
)
def test_mount_max_is_told_by_the_fullest_namespace(tmp_path: Path, most: str, status: Status | None) -> None:
    (tmp_path / "fs").mkdir()
    (tmp_path / "fs/mount-max").write_text(f"{most}\n")
    check = kernel.mount_max({HOME: 2, OTHER: 1}, str(tmp_path))
    assert (check.status if check else None) is status
    if check:
        assert f"({HOME}) has 2 mounts" in check.text


@pytest.mark.parametrize(("value", "word"), [("1", "enforcing"), ("0", "permissive"), (None, "not in use")])
def test_selinux(tmp_path: Path, value: str | None, word: str) -> None:
    if value is not None:
        (tmp_path / "enforce").write_text(value)
    check = kernel.selinux(str(tmp_path / "enforce"))
    assert word in check.text
    assert check.status is Status.OK


def test_systemd_is_asked_for_its_version(tmp_path: Path) -> None:
    check = system.version(("echo", "systemd 252 (252.30-1~deb12u2)"), str(tmp_path))
    assert (check.status, check.text) == (Status.OK, "systemd 252 runs")
    assert system.version(("echo",), str(tmp_path / "none")).status is Status.WARN


@pytest.mark.parametrize(
    ("pid1", "status"), [(None, Status.WARN), (1, Status.WARN), (own_namespace(), Status.OK)], ids=["?", "other", "own"]
)
def test_where_the_command_runs(pid1: int | None, status: Status) -> None:
    assert system.namespace(pid1).status is status


@pytest.mark.parametrize(
    ("changes", "running", "status", "hint"),
    [
        ({}, True, Status.OK, None),
        ({}, False, Status.FAIL, "systemctl start mountwarden"),
        ({"paused": {"until": None}}, True, Status.WARN, "mountwarden resume"),
        ({"config_kept": "line 3\x1b[2J"}, True, Status.FAIL, "mountwarden config check"),
        ({"unsaved": "/run/mountwarden/ledger.json can't be written: No space left"}, True, Status.FAIL, "df -i /run"),
        ({"version": "0.0"}, True, Status.WARN, "systemctl restart mountwarden"),
    ],
)
def test_the_service(changes: dict[str, Any], running: bool, status: Status, hint: str | None) -> None:
    check = system.agent({**STATUS, **changes}, running)
    assert check.status is status
    assert (check.hint or "").endswith(hint or "")
    assert "\x1b" not in check.text


def test_a_service_that_is_not_known() -> None:
    check = system.agent(MountwardenError("the service has not run since the boot"), running=False)
    assert check.status is Status.WARN
    assert "has not run since the boot" in check.text


def test_the_configuration() -> None:
    assert system.config(b"/etc/mountwarden", []).status is Status.OK
    check = system.config(b"/etc/mountwarden", [ConfigError("x.toml:1: tick"), ConfigError("y")])
    assert check.status is Status.FAIL
    assert "x.toml:1: tick, and 1 more" in check.text


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("echo",), Status.OK),
        (("false",), Status.WARN),
        (("echo", "something else"), Status.WARN),
        (("/no/such/journalctl",), Status.WARN),
    ],
    ids=["there", "no entry", "another entry", "no journalctl"],
)
def test_the_catalog_is_asked_for_one_of_our_messages(words: tuple[str, ...], status: Status) -> None:
    assert next(iter(IDS.values()))
    assert system.catalog(words).status is status


def picture(*states: RootState) -> Picture:
    return Picture("boot", Tier.MOUNTINFO, states, {}, (), 0)


@pytest.mark.parametrize(
    ("state", "status", "words"),
    [
        (STATE, Status.OK, "shared, peer group 1"),
        (RootState(ROOT, HOME, None, status="home shows no mount"), Status.WARN, "could not be judged: home shows"),
        (
            dataclasses.replace(STATE, root=dataclasses.replace(ROOT, home_pid=77)),
            Status.OK,
            "its daemon (process 77) has a mount namespace of its own",
        ),
        (
            dataclasses.replace(STATE, root=dataclasses.replace(ROOT, home_known=False)),
            Status.OK,
            "its daemon does not run",
        ),
        (
            dataclasses.replace(STATE, root=dataclasses.replace(ROOT, wants_private=True)),
            Status.OK,
            "its engine makes it private when it starts",
        ),
    ],
)
def test_roots(state: RootState, status: Status, words: str) -> None:
    check = only(roots.roots(picture(state), ()))
    assert check.status is status
    assert words in check.text


def test_a_private_root_has_the_command_that_shares_it() -> None:
    state = root_state(ROOT, table(host_root(shared=0)), HOME)
    private = finding(kind=Kind.PRIVATE_ROOT, root=ROOT, mountpoint=ROOT.path)
    check = only(roots.roots(picture(state), (private,)))
    assert (check.status, check.hint) == (Status.WARN, f"mountwarden share {private.id}")
    on_purpose = dataclasses.replace(ROOT, wants_private=True)
    state = dataclasses.replace(state, root=on_purpose)
    check = only(roots.roots(picture(state), (dataclasses.replace(private, root=on_purpose),)))
    assert check.status is Status.OK
    assert "on purpose" in check.text
    assert "skip_mount_home" in (check.hint or "")


def test_no_root_is_told() -> None:
    assert only(roots.roots(picture(), ())).status is Status.WARN


def test_who_will_leak_is_named_with_why_and_what_ends_it() -> None:
    check = only(roots.cut_off([foreseen()]))
    assert check == Check(
        "namespaces.cut-off",
        "the next mount",
        Status.WARN,
        "leaky.service will keep 2 mounts of /var/lib/docker when they are unmounted on the host. leaky.service has "
        "MountFlags=private, so umounts do not reach it. Only the removal of the mountpoints, left to the engine, "
        "takes them away.",
        "Write it.",
    )


def test_a_second_view_on_the_host_itself_is_named_by_its_place() -> None:
    view = sight(at_home=True, mount=mount(5, 1, "/srv/ch\nroot", device="8:1"))
    volumes = dataclasses.replace(view, root=dataclasses.replace(ROOT, path=b"/var/lib/docker/volumes"), copies=1)
    (one,), gaps = predict_leaks([view, volumes], picture(STATE))
    assert predict_leaks([dataclasses.replace(view, copies=0)], picture(STATE)) == ((), ()), "it is given no new one"
    check = only(roots.cut_off([one]))
    assert gaps == ()
    assert check.text == (
        "/srv/ch\\x0aroot on the host itself will keep 3 mounts of /var/lib/docker, /var/lib/docker/volumes when they "
        "are unmounted on the host. Then their directories can't be removed: device or resource busy."
    )
    assert check.hint == (
        "Unmount it (umount -R /srv/ch\\x0aroot), or let umounts reach it: mount --make-rslave /srv/ch\\x0aroot"
    )
    assert command._next_leak(one)["kind"] == "home"
    assert "no other mount namespace" in roots.reached([view]).text


def test_who_is_cut_off_and_holds_nothing_is_named_where_it_comes_back() -> None:
    check = only(roots.cut_off([foreseen(sight(copies=0))]))
    assert check.status is Status.WARN
    assert check.text.startswith("leaky.service is cut off from /var/lib/docker: it will keep what is live there when")
    once = foreseen(sight(copies=0), cause=Cause("root-private", "It was private."))
    assert [c.id for c in roots.cut_off([once])] == ["namespaces.empty"]
    assert only(roots.cut_off([once])).status is Status.OK


def test_what_an_engine_wants_is_counted_only() -> None:
    base = dataclasses.replace(STATE.bases[0], mount=host_root(shared=0))
    wanted = dataclasses.replace(ROOT, wants_private=True)
    check = only(roots.cut_off([foreseen(sight(root=wanted, base=base))]))
    assert (check.id, check.status) == ("namespaces.on-purpose", Status.OK)
    assert "1 namespace cut off from roots that are private on purpose, with 2 copies" in check.text


def test_who_receives_is_counted() -> None:
    well = sight(Relation.SLAVE, namespace=1)
    assert "1 of 2 namespaces that show a root" in roots.reached([well, sight(), sight(Relation.PEER)]).text
    assert "no other mount namespace" in roots.reached([]).text
    private = dataclasses.replace(STATE.bases[0], mount=host_root(shared=0))
    wanted = sight(root=dataclasses.replace(ROOT, wants_private=True), base=private, namespace=2)
    assert "1 of 1 namespace that" in roots.reached([well, wanted]).text


def test_one_reason_for_several_roots_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the units of all namespaces are asked for in one go."""
    asked: list[set[str]] = []

    def answer(names: Any) -> dict[str, UnitFacts | Gap]:
        asked.append(set(names))
        return {name: UnitFacts(name, mount_flags=MS_PRIVATE) for name in names}

    monkeypatch.setattr(bus, "units_facts", answer)
    monkeypatch.setattr("mountwarden.predict.next_leaks.who", lambda _inode, _picture: LEAKY)
    volumes = dataclasses.replace(ROOT, path=b"/var/lib/docker/volumes")
    found, gaps = predict_leaks([sight(), sight(root=volumes, copies=1), sight(Relation.SLAVE)], picture(STATE))
    assert asked == [{"leaky.service"}]
    assert gaps == ()
    (one,) = found
    assert (one.leaks, one.recurs, len(one.sights)) == (3, True, 2)
    assert one.cause
    assert one.cause.code == "mount-flags"
    assert one.fix == str(lasting_fix.mount_flags_fix("leaky.service"))


def test_units_that_do_not_run_are_named_by_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_files, "PLACES", (os.fsencode(tmp_path),))
    files = {
        "etc/a.service": "[Service]\nMountFlags=private\n",
        "etc/b.service": "[Service]\nMountFlags=slave\n",
        "lib/b.service": "[Service]\nMountFlags=private\n",
        "etc/c.service": "[Service]\nMountFlags=private\n",
        "etc/c.service.d/10.conf": "[Service]\nMountFlags=\n",
        "lib/d.service": "[Service]\nType=exec\n",
        "lib/d.service.d/10.conf": "[Service]\nMountFlags=shared\n",
        "etc/d.service.d/20.conf": "# no\n[Service]\nMountFlags=private\n",
        "etc/e.service": "[Unit]\nMountFlags=private\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "etc/f.service").symlink_to("/dev/null")
    places = (f"{tmp_path}/etc", f"{tmp_path}/lib", f"{tmp_path}/none")
    found = units.private(places)
    assert [(one.unit, Path(one.file).name, one.line) for one in found] == [
        ("a.service", "a.service", 2),
        ("d.service", "20.conf", 3),
    ]
    check = only(units.checks(found, frozenset({"d.service"})))
    assert (
        f"a.service will keep what is live when it starts: MountFlags=private ({tmp_path}/etc/a.service:2)"
        == check.text
    )
    assert check.hint == str(lasting_fix.mount_flags_fix("a.service"))


def test_the_canarys_line() -> None:
    assert canary.check(canary.CanaryResult(True, "", "a process of its own", 0.004, 0.003, 0.09)).status is Status.OK
    failed = canary.check(canary.CanaryResult(False, "no\x1b[2J", "nobody"))
    assert failed.status is Status.FAIL
    assert "\x1b" not in failed.text


def test_without_root_what_can_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    asked = Asked(b"/nonexistent", MountwardenError("not to be read", hint="be root"), running=False, canary=False)
    found = examine(asked)
    last = found.checks[-1]
    assert (last.status, last.hint) == (Status.WARN, "run it as root")
    assert found.scan is None
    assert {check.group for check in found.checks} >= {"kernel", "systemd", "service"}


def test_a_tier_that_does_not_work_is_a_line_and_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def choose(wanted: Tier | None = None, found: object = None) -> tuple[Tier, str]:
        if wanted is not None:
            raise MountwardenError("the tier statmount does not work here: ENOSYS")
        return Tier.MOUNTINFO, "the best"

    monkeypatch.setattr(tiers, "choose", choose)
    scanner, (check,) = examination._scanner(Config(tier=Tier.STATMOUNT), ExposedTexts())
    assert scanner.tier is Tier.MOUNTINFO
    assert check.status is Status.FAIL
    assert "the tier statmount does not work here: ENOSYS" in check.text
    assert examination._scanner(Config(), ExposedTexts())[1] == ()


def test_the_worst_line_is_the_exit_status() -> None:
    lines = tuple(Check("x", "g", status, "t") for status in (Status.OK, Status.FAIL, Status.WARN))
    assert Examination(lines, ()).worst is Status.FAIL
    assert Examination(lines[::2], ()).worst is Status.WARN
    assert Examination((), ()).worst is Status.OK


RUNNING = EngineRunning(PROGRAMS["dockerd"], (Holder(812, "dockerd", unit="docker.service"),), 1)


@pytest.mark.parametrize(
    ("one", "engines_on", "status", "words"),
    [
        (dataclasses.replace(RUNNING, roots=(STATE,)), ("docker",), Status.OK, "/var/lib/docker (shared"),
        (RUNNING, ("docker",), Status.WARN, "no root of it was found: it is not guarded"),
        (RUNNING, ("kubelet",), Status.OK, "`engines` of the configuration leaves docker out"),
        (dataclasses.replace(RUNNING, program=PROGRAMS["podman"]), ENGINES, Status.OK, "storage driver is not overlay"),
        (dataclasses.replace(RUNNING, program=PROGRAMS["nomad"]), ("docker",), Status.OK, "its roots are not known"),
        (dataclasses.replace(RUNNING, program=PROGRAMS["lxc-start"]), ("docker",), Status.OK, "nothing to guard"),
        (dataclasses.replace(RUNNING, user=1000), ("docker",), Status.OK, "Docker of user ada: process 812"),
        (
            dataclasses.replace(RUNNING, container="0123456789ab" * 5 + "0123"),
            ("docker",),
            Status.OK,
            "observed only, since its mounts are the container's",
        ),
    ],
)
def test_an_engine_that_runs(one: EngineRunning, engines_on: tuple[str, ...], status: Status, words: str) -> None:
    check = only(engines.running([one], 0, Config(engines=engines_on), lambda _uid: "ada"))
    assert (check.status, words in check.text) == (status, True), check.text


def test_however_many_engines_users_run_they_are_a_few_lines() -> None:
    many = [dataclasses.replace(RUNNING, user=1000 + number) for number in range(300)]
    checks = list(engines.running(many, 7, Config(), str))
    assert len(checks) == 21
    assert checks[-1].text.startswith("280 more engines and 7 more processes of engines")


def test_where_no_engine_runs_that_is_said() -> None:
    assert "no process of a container engine" in only(engines.running((), 0, Config(), str)).text
