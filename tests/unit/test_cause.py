"""Each cause as its exact sentence, from facts made by hand."""

from dataclasses import replace

import pytest
from mountwarden.explain import cause
from mountwarden.explain.context import Context
from mountwarden.model import (
    MS_PRIVATE,
    Base,
    Cause,
    Directive,
    Finding,
    FoundCopy,
    Holder,
    Kind,
    Layout,
    Match,
    Mount,
    NamespaceKind,
    Reach,
    Root,
    RootKind,
    Severity,
    Spot,
    Target,
    UnitFacts,
    UnitFile,
)
from mountwarden.systemd.unit_syntax import parse

from tests.support.findings import changed

ID = "1a2b3c4d5e6f" + "0" * 52
LAYOUT = Layout(b"overlay2/*/merged", "overlay")
MERGED = b"/var/lib/docker/overlay2/X/merged"
STARTED = 1795498811.3
FRAGMENT = b"/etc/systemd/system/leaky.service"
DROP_IN = b"/etc/systemd/system/leaky.service.d/10-tmp.conf"
TRANSIENT = b"/run/systemd/transient/leaky.service"


def mount(
    point: bytes, shared: int = 0, master: int = 0, *, id: int = 1, parent: int = 0, options: bytes = b"rw"
) -> Mount:
    return Mount(id, parent, "8:1", b"/", point, options, shared, master, 0, False, "ext4", b"/dev/sda1", b"rw")


def finding(
    *,
    home: Mount,
    kind: NamespaceKind = NamespaceKind.SERVICE,
    holder: Holder | None = None,
    seen_at: bytes = MERGED,
    root: Root | None = None,
) -> Finding:
    root = root or Root(b"/var/lib/docker", "docker", RootKind.GRAPH, (LAYOUT,), None)
    base = Base(home, Spot("8:1", b"/"), b"")
    match = Match(root, base, LAYOUT, b"overlay2/X/merged", b"X", MERGED, Spot("8:1", b"/overlay2/X/merged"))
    holder = holder or Holder(42, "sleep", "leaky.service")
    return Finding(
        id="mw-0123456789",
        kind=Kind.LEAKED,
        severity=Severity.WARNING,
        root=root,
        home=1,
        spot=match.spot,
        layer=b"X",
        mountpoint=MERGED,
        fstype="overlay",
        device="0:40",
        target=Target(match, mount(MERGED, id=30), ()),
        copies=(FoundCopy(7, seen_at, 30, None, Reach.RMDIR, kind, holders=(holder,)),),
    )


def unit(*directives: Directive, flags: int = 0, **more: object) -> UnitFacts:
    facts = UnitFacts("leaky.service", started=STARTED, mount_flags=flags, directives=directives)
    return replace(facts, **more)  # type: ignore[arg-type]


def explain(found: Finding, around: Context) -> Cause | None:
    """As the gatherer has it: home's mount is the judged one."""
    assert found.target
    return cause.explain(found, replace(around, home=found.target.match.base.mount))


def text(found: Finding, around: Context) -> str:
    answer = explain(found, around)
    assert answer
    return answer.text


HOME = mount(b"/var/lib/docker", shared=9)
PRIVATE_HOME = mount(b"/var/lib/docker")
ALL_PRIVATE = (mount(b"/var/lib/docker", id=20, parent=10), mount(b"/", id=10))
ONLY_ROOT_PRIVATE = (mount(b"/var/lib/docker", shared=50, id=20, parent=10), mount(b"/", shared=51, master=3, id=10))
FLAGS = Directive("MountFlags", "private")
TMP = Directive("PrivateTmp", "yes")
SYSTEM = Directive("ProtectSystem", "strict")


@pytest.mark.parametrize(
    ("path", "lines", "place"),
    [
        (FRAGMENT, b"[Service]\nExecStart=/x\nMountFlags=private\n", "/etc/systemd/system/leaky.service:3"),
        (DROP_IN, b"[Service]\nMountFlags=private\n", "/etc/systemd/system/leaky.service.d/10-tmp.conf:2"),
        (TRANSIENT, b"[Service]\nMountFlags=private\n", "set when it was started as a transient unit"),
    ],
)
def test_mount_flags_with_the_place_where_it_is_set(path: bytes, lines: bytes, place: str) -> None:
    around = Context(ALL_PRIVATE, unit(FLAGS, flags=MS_PRIVATE), (UnitFile(path, parse(lines)),))
    answer = explain(finding(home=HOME), around)
    file, _, line = place.rpartition(":")
    assert answer == Cause(
        "mount-flags",
        f"leaky.service has MountFlags=private ({place}), so umounts on the host do not reach its mount namespace.",
        *("leaky.service", "MountFlags", "private"),
        *((file, int(line)) if file else (None, None)),
    )


def test_mount_flags_from_a_file_that_may_not_be_read() -> None:
    assert text(finding(home=HOME), Context(ALL_PRIVATE, unit(FLAGS, flags=MS_PRIVATE))) == (
        "leaky.service has MountFlags=private, so umounts on the host do not reach its mount namespace."
    )


def test_mount_flags_set_after_the_start_explain_nothing() -> None:
    late = UnitFile(DROP_IN, parse(b"[Service]\nMountFlags=private\n"), STARTED + 60)
    assert text(finding(home=HOME), Context(ALL_PRIVATE, unit(FLAGS, flags=MS_PRIVATE), (late,))) == (
        "The cause is not known: /etc/systemd/system/leaky.service.d/10-tmp.conf was changed after leaky.service "
        "started."
    )


def test_mount_flags_that_are_not_in_effect_explain_nothing() -> None:
    assert text(finding(home=HOME), Context(ONLY_ROOT_PRIVATE, unit(FLAGS, flags=MS_PRIVATE))) == (
        "The cause is not known: leaky.service has MountFlags=private, but / in its mount namespace is not private."
    )


def test_a_root_that_was_private() -> None:
    drop_in = UnitFile(DROP_IN, parse(b"# ours\n[Service]\nPrivateTmp=yes\n"))
    answer = explain(finding(home=HOME), Context(ONLY_ROOT_PRIVATE, unit(TMP), (drop_in,)))
    assert answer == Cause(
        "root-private",
        "/var/lib/docker was private when leaky.service started at 2026-11-24T05:40:11Z or became private later, "
        "so no umount there reaches its mount namespace "
        "(PrivateTmp=yes, /etc/systemd/system/leaky.service.d/10-tmp.conf:3).",
        *("leaky.service", "PrivateTmp", "yes"),
        *("/etc/systemd/system/leaky.service.d/10-tmp.conf", 3),
    )


def test_a_root_that_is_private_now() -> None:
    around = Context(ONLY_ROOT_PRIVATE, unit(SYSTEM), (UnitFile(TRANSIENT, parse(b"[Service]\nProtectSystem=strict")),))
    assert text(finding(home=PRIVATE_HOME), around) == (
        "/var/lib/docker is private on the host, so no umount there reaches the mount namespace of leaky.service "
        "(ProtectSystem=strict, set when it was started as a transient unit)."
    )


def test_a_root_that_is_only_a_slave() -> None:
    assert text(finding(home=replace(PRIVATE_HOME, master=4)), Context(ONLY_ROOT_PRIVATE, unit(TMP))) == (
        "/var/lib/docker is a slave on the host, so no umount there reaches the mount namespace of leaky.service "
        "(PrivateTmp=yes)."
    )


def test_only_settings_that_are_written_down_are_named_if_any_is() -> None:
    """DynamicUser= implies PrivateTmp= and ProtectSystem=, which stand in no file."""
    facts = unit(Directive("DynamicUser", "yes"), TMP, SYSTEM)
    files = (UnitFile(FRAGMENT, parse(b"[Service]\nDynamicUser=yes\n")),)
    assert text(finding(home=PRIVATE_HOME), Context(ONLY_ROOT_PRIVATE, facts, files)).endswith(
        "the mount namespace of leaky.service (DynamicUser=yes, /etc/systemd/system/leaky.service:2)."
    )


def test_files_that_pid_1_has_not_read_name_no_place() -> None:
    files = (UnitFile(FRAGMENT, parse(b"[Service]\nPrivateTmp=yes\n")),)
    around = Context(ONLY_ROOT_PRIVATE, unit(TMP, needs_reload=True), files)
    assert text(finding(home=PRIVATE_HOME), around).endswith("of leaky.service (PrivateTmp=yes).")
    answer = explain(finding(home=PRIVATE_HOME), around)
    assert answer
    assert (answer.directive, answer.value, answer.file, answer.line) == ("PrivateTmp", "yes", None, None)


def test_a_mount_that_was_made_private_inside_the_unit() -> None:
    above = (mount(b"/var/lib/docker", id=20), mount(b"/", shared=51, master=3, id=10))
    answer = explain(finding(home=HOME), Context(above, unit(TMP)))
    assert answer == Cause(
        "made-private-inside",
        "A process made /var/lib/docker private in the mount namespace of leaky.service, so umounts on the host do not "
        "reach it there.",
        "leaky.service",
    )


def test_a_slave_of_a_group_that_home_has_left() -> None:
    above = (mount(b"/var/lib/docker", shared=50, master=8, id=20), mount(b"/", shared=51, master=3, id=10))
    answer = explain(finding(home=HOME), Context(above, unit(TMP)))
    assert answer == Cause(
        "other-peer-group",
        "/var/lib/docker is not in peer group 8, of which /var/lib/docker in the mount namespace of leaky.service is a "
        "slave, so no umount there reaches it.",
    )


def test_a_slave_of_home_is_no_cause() -> None:
    above = (mount(b"/var/lib/docker", shared=50, master=9, id=20), mount(b"/", shared=51, master=3, id=10))
    assert text(finding(home=HOME), Context(above, unit(TMP))) == (
        "The cause is not known: /var/lib/docker in the mount namespace of leaky.service does receive umounts from "
        "/var/lib/docker on the host."
    )


def test_a_slave_chain_that_the_judge_found_is_no_cause() -> None:
    above = (mount(b"/var/lib/docker", shared=50, master=8, id=20), mount(b"/", shared=51, master=3, id=10))
    found = changed(finding(home=HOME), reach=Reach.PROPAGATION)
    assert "does receive umounts" in text(found, Context(above, unit(TMP)))


def test_a_private_unit_whose_settings_do_not_say_so() -> None:
    assert text(finding(home=HOME), Context(ALL_PRIVATE, unit(TMP))) == (
        "The cause is not known: / in the mount namespace of leaky.service is private, and none of its settings now "
        "makes it so."
    )


def test_no_answer_of_pid_1() -> None:
    assert text(finding(home=HOME), Context(ALL_PRIVATE)) == (
        "The cause is not known: PID 1 did not say how leaky.service is set up."
    )


def test_a_service_that_made_its_namespace_itself() -> None:
    answer = explain(finding(home=HOME), Context(ALL_PRIVATE, unit()))
    assert answer == Cause(
        "own-namespace",
        "Process 42 (sleep) of leaky.service is in a mount namespace that none of its unit's settings made, in which "
        "/var/lib/docker has no master, so umounts on the host do not reach it.",
        "leaky.service",
    )


def test_a_service_whose_own_namespace_is_shared_is_not_said_to_have_changed_a_mount() -> None:
    """What unshare(1) --propagation unchanged makes beside a private root: shared and private mounts side by side."""
    above = (mount(b"/var/lib/docker", id=20, parent=10), mount(b"/", shared=3, id=10))
    answer = explain(finding(home=HOME), Context(above, unit()))
    assert answer
    assert answer.code == "own-namespace"


def test_a_process_in_a_session() -> None:
    found = finding(home=HOME, kind=NamespaceKind.PROCESS, holder=Holder(42, "ba\x1bsh", "session-3.scope"))
    assert text(found, Context(ALL_PRIVATE)) == (
        "Process 42 (ba\\x1bsh) of session-3.scope is in a mount namespace of its own, in which /var/lib/docker has no "
        "master, so umounts on the host do not reach it."
    )


def test_a_slave_namespace_of_a_process() -> None:
    found = finding(home=HOME, kind=NamespaceKind.PROCESS, holder=Holder(42, "bash"))
    above = (mount(b"/var/lib/docker", id=20), mount(b"/", master=3, id=10))
    assert text(found, Context(above)) == (
        "/var/lib/docker was private when the mount namespace of process 42 (bash) was made or became private later, "
        "so no umount there reaches it."
    )


def test_a_users_own_service_is_a_process_to_pid_1() -> None:
    found = finding(home=HOME, holder=Holder(42, "web", "user@1000.service", user_unit="web.service"))
    assert text(found, Context(ALL_PRIVATE)).startswith(
        "Process 42 (web) of web.service is in a mount namespace of its own, "
    )


def container(seen_at: bytes = b"/host" + MERGED, home: Mount = HOME, name: str = ID) -> Finding:
    holder = Holder(42, "sh", f"docker-{ID}.scope", name)
    return finding(home=home, kind=NamespaceKind.CONTAINER, holder=holder, seen_at=seen_at)


OVERLAY = mount(b"/", id=10)
PRIVATE_BIND = (mount(b"/host/var/lib/docker", id=20, parent=15), mount(b"/host", id=15, parent=10), OVERLAY)


def test_a_bind_of_the_host_with_private_propagation() -> None:
    answer = explain(container(), Context(PRIVATE_BIND))
    assert answer == Cause(
        "private-bind",
        "Container 1a2b3c4d5e6f bind-mounts the host's / at /host with private propagation, so umounts on the host do "
        "not reach it.",
    )


def test_a_bind_of_a_directory() -> None:
    above = (mount(b"/data", id=15, parent=10), OVERLAY)
    assert "bind-mounts the host's /var/lib/docker at /data with" in text(
        container(b"/data/overlay2/X/merged"), Context(above)
    )


def test_a_finding_that_stands_for_several_copies_names_the_bind_by_the_one_it_shows() -> None:
    found = replace(container(), kind=Kind.SEVERED, mountpoint=b"/var/lib/docker")
    assert "bind-mounts a directory of the host at /host with" in text(found, Context(PRIVATE_BIND))
    assert "bind-mounts the host's / at /host with" in text(found, Context(PRIVATE_BIND, mountpoint=MERGED))


def test_a_bind_whose_source_the_paths_do_not_show() -> None:
    above = (mount(b"/data", id=15, parent=10), OVERLAY)
    assert "bind-mounts a directory of the host at /data with" in text(container(b"/data/other"), Context(above))


@pytest.mark.parametrize("asked", ["rslave", "slave"])
def test_slave_asked_for_but_not_in_effect(asked: str) -> None:
    answer = explain(container(), Context(PRIVATE_BIND, asked=asked))
    assert answer == Cause(
        "slave-not-effective",
        f"Container 1a2b3c4d5e6f was to bind-mount the host's / at /host with {asked} propagation, but that mount is "
        "private, so umounts on the host do not reach it.",
    )


def test_a_slave_bind_over_a_private_root() -> None:
    above = (mount(b"/host/var/lib/docker", id=20), mount(b"/host", master=3, id=15), OVERLAY)
    assert text(container(), Context(above)) == (
        "/var/lib/docker was private when container 1a2b3c4d5e6f started or became private later, "
        "so no umount there reaches it."
    )
    assert text(container(home=PRIVATE_HOME), Context(above)) == (
        "/var/lib/docker is private on the host, so no umount there reaches container 1a2b3c4d5e6f."
    )


def test_a_container_without_a_bind() -> None:
    assert text(container(name="debian"), Context((OVERLAY,))) == (
        "The cause is not known: the copy is not below a bind mount of container debian."
    )


def test_a_shared_bind() -> None:
    above = (mount(b"/host", shared=77, id=15), OVERLAY)
    assert text(container(), Context(above)) == (
        "The cause is not known: /host in container 1a2b3c4d5e6f is in a peer group of its own."
    )


def test_a_namespace_without_processes() -> None:
    found = changed(finding(home=HOME, kind=NamespaceKind.BARE), holders=())
    assert text(found, Context(ALL_PRIVATE)) == (
        "The cause is not known: no process is in mount namespace 7, so nothing shows who made it."
    )


def test_mounts_that_were_not_seen() -> None:
    assert text(finding(home=HOME), Context()) == (
        "The cause is not known: the mount that holds the copy was not seen."
    )
    assert text(finding(home=HOME), Context((mount(b"/var/lib/docker"),), unit(TMP))) == (
        "The cause is not known: / of the mount namespace of leaky.service was not seen."
    )


def test_home_elsewhere_is_not_called_the_host() -> None:
    root = Root(b"/var/lib/docker", "docker", RootKind.GRAPH, (LAYOUT,), 99, home_pid=4711)
    assert "so umounts in the mount namespace of docker do not reach" in text(
        finding(home=HOME, root=root), Context(ALL_PRIVATE, unit(FLAGS, flags=MS_PRIVATE))
    )


def test_private_root() -> None:
    root = Root(b"/var/lib/containers/storage/overlay", "podman", RootKind.GRAPH, (), None, wants_private=True)
    found = replace(finding(home=HOME), kind=Kind.PRIVATE_ROOT, root=root, mountpoint=root.path)
    assert text(found, Context()) == (
        "containers/storage makes /var/lib/containers/storage/overlay private each time it starts, "
        "as skip_mount_home is not set."
    )
    assert text(replace(found, root=replace(root, wants_private=False)), Context()) == (
        "The cause is not known: the kernel keeps no record of who made /var/lib/containers/storage/overlay private."
    )


@pytest.mark.parametrize("kind", [Kind.PINNED, Kind.STACKED, Kind.ORPHANED])
def test_other_kinds_have_no_such_cause(kind: Kind) -> None:
    assert explain(replace(finding(home=HOME), kind=kind), Context()) is None


def test_hostile_paths_stay_data() -> None:
    hostile = b"/host\n\x1b[2J"
    above = (mount(hostile, id=15, parent=10), OVERLAY)
    assert text(container(hostile + MERGED), Context(above)) == (
        r"Container 1a2b3c4d5e6f bind-mounts the host's / at /host\x0a\x1b[2J with private propagation, "
        "so umounts on the host do not reach it."
    )
