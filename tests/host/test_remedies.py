"""The rest of the remedies on a booted host: what a policy lets the service do, and what an operator's command does."""

import json
import time
from collections.abc import Iterator

import pytest
from mountwarden.escape import seconds

from tests.host.test_agent import UNIT, Service
from tests.support.leaks import CONFIG, ROOT
from tests.support.looked import await_look
from tests.support.machine import Machine
from tests.support.wait import wait_until

POLICY = f'\n[[policy]]\naction = "unmount"\npolicy = "auto"\nroot = "{ROOT}"\n'


@pytest.fixture
def service(host: Machine) -> Iterator[Service]:
    made = Service(host)
    yield made
    host.run("systemctl", "stop", UNIT)
    made.leaks.clean()


def mounted(host: Machine, unit: str) -> list[str]:
    text = host.read(f"/proc/{host.main_pid(unit)}/mountinfo")
    return [line.split(" ")[4] for line in text.splitlines()]


def test_an_overlay_bound_elsewhere_is_unmounted_inside_by_policy(host: Machine, service: Service) -> None:
    service.start('resync = "1s"\n' + CONFIG + POLICY)
    layer = service.leaks.mount()
    unit = host.unit("bound", "PrivateTmp=yes", "MountFlags=private")
    service.leaks.units.add(unit)
    pid = host.main_pid(unit)
    script = f"mkdir -p /tmp/o && mount --bind {layer}/merged /tmp/o && umount {layer}/merged"
    host.run("nsenter", "-t", str(pid), "-m", "sh", "-c", script)
    bound = time.time()
    # The bind is no event at home: only a resync sees it, and without having seen it there nobody may act on it.
    wait_until(lambda: seconds(service.document("report")["taken"]) > bound + 2.5, 30, "a resync after the bind")
    assert "/tmp/o" in mounted(host, unit)
    host.run("umount", f"{layer}/merged")
    entry = service.await_event("acted", f"{layer}/merged", 20)
    assert entry["MOUNTWARDEN_ACTION"] == "unmount"
    assert entry["MOUNTWARDEN_EVIDENCE"] == "history"
    assert "/tmp/o: unmounted" in entry["MOUNTWARDEN_DID"]
    assert "/tmp/o" not in mounted(host, unit)
    assert host.main_pid(unit) == pid


@pytest.mark.long
def test_what_somebody_stands_in_is_declined_and_done_when_it_has_gone(host: Machine, service: Service) -> None:
    service.start(CONFIG)
    layer = service.leaks.mount()
    mountpoint, there = f"{layer}/merged", time.time()
    await_look(host, there)
    holder = host.unit("stayed", "PrivateTmp=yes", "MountFlags=private")
    # The wrong moment: after the umount, and before the second that confirms the leak is over.
    enter = f"umount {mountpoint} && cd {mountpoint} && exec unshare -m sleep infinity"
    visitor = host.unit("visitor", command=("sh", "-c", enter))
    service.leaks.units |= {holder, visitor}
    declined = service.await_event("failed", mountpoint)
    assert declined["MOUNTWARDEN_CODE"] == "in-use"
    assert f"process {host.main_pid(visitor)} (sleep, cwd)" in declined["MESSAGE"]
    time.sleep(2.5)  # it is tried again meanwhile
    assert mountpoint in mounted(host, holder)
    service.leaks.end(visitor)
    assert service.await_event("acted", mountpoint, 15)["MOUNTWARDEN_ACTION"] == "detach"
    assert mountpoint not in mounted(host, holder)
    match = f"MOUNTWARDEN_MOUNTPOINT={mountpoint}"
    assert len(service.events(match, event="failed")) == 1, "told once"


def test_a_hidden_copy_is_unmounted_by_an_operator_and_told_in_the_journal(host: Machine, service: Service) -> None:
    service.leaks.prepare()
    service.configure(CONFIG)
    mountpoint, unit = service.leaks.make("hidden")
    layer = mountpoint.removesuffix("/merged")
    host.run("mkdir", f"{layer}/upper2", f"{layer}/work2")
    options = f"lowerdir={layer}/lower,upperdir={layer}/upper2,workdir={layer}/work2"
    host.run("mount", "-t", "overlay", "overlay", "-o", options, mountpoint)
    told = json.loads(host.run("mountwarden", "--json", check=False).stdout)
    (finding,) = (one for one in told["findings"] if one["mountpoint"] == mountpoint and one["kind"] == "leaked")
    assert [remedy["action"] for remedy in finding["remedies"]] == ["unmount", "restart"]
    dry = host.run("mountwarden", "unmount", finding["id"], "--dry-run").stdout
    namespace = finding["copies"][0]["namespace"]["inode"]
    assert f"a child checks that {mountpoint} is mount " in dry
    assert f", and unmounts it, in namespace {namespace}" in dry
    assert mountpoint in mounted(host, unit)
    host.run("mountwarden", "unmount", finding["id"])
    assert mountpoint not in mounted(host, unit)
    assert host.run("mountpoint", mountpoint).returncode == 0, "home's newer mount stays"
    entries = host.journal(f"MOUNTWARDEN_FINDING={finding['id']}", "MOUNTWARDEN_EVENT=acted")
    assert [entry["MOUNTWARDEN_ACTION"] for entry in entries] == ["unmount"]
    host.run("umount", mountpoint)


def test_the_service_removes_what_a_killed_act_left_at_its_start(host: Machine, service: Service) -> None:
    service.leaks.prepare()
    layer = service.leaks.mount()
    left, kept = f"{layer}/.mountwarden-0123456789abcdef", f"{layer}/.mountwarden-x"
    host.run("mkdir", left, kept)
    service.start(CONFIG)
    wait_until(lambda: host.run("test", "-e", left, check=False).returncode, 30, "the leftover is gone")
    assert host.run("test", "-d", kept).returncode == 0
    (started,) = service.events(event="started")[-1:]
    assert left in started["MESSAGE"]
    host.run("umount", f"{layer}/merged")
