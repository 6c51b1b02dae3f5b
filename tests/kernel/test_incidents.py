"""Ten ways in which mounts have leaked in the field, each with its topology made for real.

For each: the finding, the sentence that says why, and the way out. What needs a real unit or a real engine to be told
by name is told in tests/host/test_cause.py and tests/engines/test_cause_containers.py.
"""

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace

from mountwarden.busy import find
from mountwarden.explain import attribute, cause
from mountwarden.kernel import abi, syscalls
from mountwarden.model import (
    Action,
    Cause,
    Evidence,
    Finding,
    Kind,
    MountClass,
    NamespaceKind,
    Outcome,
    Reach,
    RootKind,
    Severity,
)
from mountwarden.observe.enter import own_namespace
from mountwarden.remedies import apply
from mountwarden.scan.scanner import Scanner

from tests.kernel.topology import CONFIG, ROOT, Home, with_layout
from tests.support.findings import changed
from tests.support.scratch_ns import Namespace, hold, overlay

MERGED = ROOT + b"/X/merged"


def explained(home: Home, *, kind: Kind = Kind.LEAKED) -> list[tuple[Finding, Cause | None]]:
    """What a fresh look finds of one kind, each with its cause."""

    def run() -> list[tuple[Finding, Cause | None]]:
        scan = Scanner(home.config, home=own_namespace()).scan()
        return [(f, attribute.explain(f, scan.picture)[0].cause) for f in scan.findings if f.kind is kind]

    return home.run(run)


def private(home: Home) -> None:
    """As an engine makes its root private, beside a host whose "/" is shared."""
    home.run(lambda: syscalls.mount(None, b"/", None, abi.MS_SHARED))
    home.run(lambda: syscalls.mount(None, b"/mnt", None, abi.MS_PRIVATE))


def rshared(space: Namespace) -> None:
    """As systemd makes a unit's mounts: slaves, then shared again."""
    space.run(lambda: syscalls.mount(None, b"/", None, abi.MS_REC | abi.MS_SHARED))


def detach(home: Home, finding: Finding, *copies: Namespace) -> Outcome:
    outcome = home.act(finding, Action.DETACH)
    assert outcome.done, outcome.text
    assert home.leaked() == ()
    for space in copies:
        assert not space.is_mounted(MERGED)
    return outcome


def test_incident_1_a_sandboxed_service_started_over_a_private_root(home: Home) -> None:
    private(home)
    home.layer()
    with hold(home.sandbox, propagation="slave") as service:
        rshared(service)
        home.umount(MERGED)
        ((finding, why),) = explained(home)
        assert finding.namespaces == (service.inode,)
        assert [holder.pid for holder in finding.holders] == [service.pid]
        assert why is not None
        assert why.code == cause.ROOT_PRIVATE
        assert why.text.startswith("/mnt is private on the host, so no umount there reaches the mount namespace of ")
        detach(home, finding, service)


def test_incident_1_its_control_a_shared_root_leaks_nothing(home: Home) -> None:
    home.layer()
    with hold(home.sandbox, propagation="slave") as service:
        rshared(service)
        home.umount(MERGED)
        assert not service.is_mounted(MERGED)
        assert home.findings() == ()


def test_incident_2_a_one_shot_that_is_gone_before_anybody_looks_again(home: Home) -> None:
    private(home)
    home.layer()

    def run() -> tuple[int, int]:
        scanner = Scanner(home.config, home=own_namespace())
        scanner.scan()
        with hold(propagation="slave"):
            syscalls.umount(MERGED)
            during = [f for f in scanner.scan().findings if f.kind is Kind.LEAKED]
            assert [f.evidence for f in during] == [Evidence.HISTORY]
            assert during[0].holders
        return len(during), len([f for f in scanner.scan().findings if f.kind is Kind.LEAKED])

    assert home.run(run) == (1, 0), "found while it lives, cleared with it"


def test_incident_3_a_slave_that_is_not_recursive(home: Home) -> None:
    home.run(lambda: syscalls.mount(None, b"/", None, abi.MS_SHARED))
    home.layer()
    with hold(home.sandbox, propagation=None) as udevd:

        def cut() -> None:
            syscalls.mount(None, b"/", None, abi.MS_SLAVE)
            syscalls.mount(None, b"/mnt", None, abi.MS_PRIVATE)  # a mount below "/" keeps a state of its own

        udevd.run(cut)
        home.umount(MERGED)
        ((finding, why),) = explained(home)
        assert finding.namespaces == (udevd.inode,)
        assert why is not None
        assert "/mnt" in why.text, "the mount whose state differs is named"
        detach(home, finding, udevd)


def rbound(space: Namespace) -> None:
    """As `-v /:/rootfs` with private propagation: the host at another path, and nothing of it elsewhere."""
    os.makedirs("/run/rootfs", exist_ok=True)
    syscalls.mount(b"tmpfs", b"/run", b"tmpfs")
    os.mkdir("/run/rootfs")
    syscalls.mount(b"/mnt", b"/run/rootfs", None, abi.MS_BIND | abi.MS_REC)
    syscalls.mount(None, b"/run/rootfs", None, abi.MS_REC | abi.MS_PRIVATE)
    syscalls.umount(b"/mnt", abi.MNT_DETACH)


def container(home: Home, work: Callable[[Namespace], None]) -> None:
    """A monitor that has the host at /run/rootfs, while home unmounts a layer."""
    home.layer()
    with hold(home.sandbox, propagation="slave") as monitor:
        monitor.run(lambda: rbound(monitor))
        home.umount(MERGED)
        assert monitor.is_mounted(b"/run/rootfs/root/X/merged")
        work(monitor)


def test_incident_4_a_monitor_with_the_host_at_another_path(home: Home) -> None:
    def work(monitor: Namespace) -> None:
        ((finding, why),) = explained(home)
        assert (finding.namespaces, finding.mountpoint) == ((monitor.inode,), MERGED)
        assert finding.first.seen_at == b"/run/rootfs/root/X/merged", "told by its spot, whatever path shows it"
        assert why is not None
        assert "no master" in why.text
        assert "/run/rootfs" in why.text
        detach(home, finding)
        assert not monitor.is_mounted(b"/run/rootfs/root/X/merged")

    container(home, work)


def test_incident_5_rslave_asked_for_and_not_in_effect(home: Home) -> None:
    def work(_monitor: Namespace) -> None:
        def run() -> tuple[Finding, Cause | None]:
            scan = Scanner(home.config, home=own_namespace()).scan()
            (finding,) = (f for f in scan.findings if f.kind is Kind.LEAKED)
            around, _gaps = attribute.surroundings(finding, scan.picture)
            # The two things that only a container has: its cgroup, and the configuration that asked.
            holder = replace(finding.holders[0], container="c" * 64)
            finding = changed(finding, namespace_kind=NamespaceKind.CONTAINER, holders=(holder,))
            return finding, cause.explain(
                finding, replace(around, asked="rslave", above=(around.above[0], around.above[-1]))
            )

        finding, why = home.run(run)
        assert why is not None
        assert why.code == cause.SLAVE_NOT_EFFECTIVE
        assert "rslave propagation, but that mount is private" in why.text
        detach(home, finding)

    container(home, work)


def test_incident_6_a_log_shipper_keeps_a_container_s_shm(home: Home) -> None:
    home.config = with_layout(b"containers/*/shm", fstype="tmpfs")
    shm, log = ROOT + b"/containers/1/shm", ROOT + b"/containers/1/1-json.log"

    def make() -> None:
        os.makedirs(shm)
        with open(log, "wb") as file:
            file.write(b"{}\n")
        syscalls.mount(b"shm", shm, b"tmpfs", 0, b"size=64k")

    home.run(make)
    with hold(home.sandbox, propagation="private") as shipper:
        home.umount(shm)
        ((finding, why),) = explained(home)
        assert (finding.namespaces, finding.layer, finding.fstype) == ((shipper.inode,), b"1", "tmpfs")
        assert why is not None
        detach(home, finding)
        assert not shipper.is_mounted(shm)
        assert home.run(lambda: open(log, "rb").read()) == b"{}\n", "a log is never touched"  # noqa: SIM115
        home.run(lambda: os.rmdir(shm))


def test_incident_7_a_network_namespace_of_a_pod(home: Home) -> None:
    home.config = with_layout(b"*", kind=RootKind.NETNS, fstype="nsfs")
    place = ROOT + b"/cni-1"

    def make() -> None:
        os.makedirs(ROOT)
        os.close(os.open(place, os.O_CREAT | os.O_RDONLY))
        syscalls.unshare(0x40000000)  # CLONE_NEWNET
        syscalls.mount(b"/proc/self/ns/net", place, None, abi.MS_BIND)

    home.run(make)
    with hold(home.sandbox, propagation="private") as pod:
        home.umount(place)
        ((finding, _why),) = explained(home)
        assert (finding.mount_class, finding.fstype, finding.namespaces) == (MountClass.NETNS, "nsfs", (pod.inode,))
        detach(home, finding)
        assert not pod.is_mounted(place)
        home.run(lambda: os.unlink(place))


def test_incident_8_a_self_bind_that_doubles_at_each_restart(home: Home) -> None:
    home.layer()

    def run() -> list[int]:
        scanner = Scanner(home.config, home=own_namespace())
        counts = []
        for _restart in range(4):
            syscalls.mount(MERGED, MERGED, None, abi.MS_BIND)
            counts += [f.count for f in scanner.scan().findings if f.kind is Kind.STACKED]
        return counts

    counts = home.run(run)
    assert counts == sorted(counts)
    assert counts[-1] == 16, "it grows by what is there already"
    ((finding, why),) = explained(home, kind=Kind.STACKED)
    assert (finding.remedies, why) == ((), None)
    assert not home.act(finding, Action.DETACH).done, "home's own live mounts are never removed"
    assert home.run(lambda: os.path.ismount(MERGED))


def test_incident_9_a_volume_s_device_kept_by_a_bystander(home: Home) -> None:
    home.config = replace(CONFIG, engines=("host",))
    with hold(home.sandbox, propagation="private") as outside:

        def run() -> tuple[Finding, list[int], Outcome]:
            os.mkdir("/mnt/pv")
            for command in ("truncate -s 8M /mnt/image", "mkfs.ext4 -q /mnt/image"):
                subprocess.run(command.split(), check=True)
            shown = subprocess.run(["losetup", "--find", "--show", "/mnt/image"], check=True, capture_output=True)
            device = shown.stdout.strip()
            try:
                syscalls.mount(device, b"/mnt/pv", b"ext4")
                with hold(propagation="private") as bystander:
                    scanner = Scanner(home.config, home=own_namespace())
                    scanner.scan()
                    syscalls.umount(b"/mnt/pv")
                    (finding,) = (f for f in scanner.scan().findings if f.kind is Kind.LEAKED)
                    assert finding.namespaces == (bystander.inode,)
                    keepers = [k for k in find.who(os.fsdecode(device)).keepers if k.how == "mount"]
                    pids = [holder.pid for keeper in keepers for holder in keeper.holders]
                    assert pids == [bystander.pid]
                    outcome = apply.carry_out(finding, scanner, Action.DETACH)
                    left = [k for k in find.who(os.fsdecode(device)).keepers if k.how != "loop"]
                    return finding, [len(left)], outcome
            finally:
                subprocess.run([b"losetup", b"--detach", device], check=True)

        finding, left, outcome = home.run(run)
        assert (finding.severity, finding.first.reach) == (Severity.CRITICAL, Reach.RMDIR)
        assert outcome.done, outcome.text
        assert left == [0], "and the device is free"
        assert not outside.is_mounted(b"/mnt/pv")


def test_incident_10_a_starting_container_holds_another_s_layer(home: Home) -> None:
    home.layer()
    with hold(home.sandbox, propagation="private") as runc_init:
        home.umount(MERGED)
        ((finding, _why),) = explained(home)
        assert not finding.confirmed, "it must hold for its confirm time before it is told"
        detach(home, finding, runc_init)
        home.run(lambda: overlay(ROOT + b"/X"))
        assert home.findings() == () or {f.kind for f in home.findings()} == {Kind.SEVERED}
        assert home.run(lambda: os.path.ismount(MERGED)), "the layer can be mounted again"
