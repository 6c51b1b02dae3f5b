"""mountwarden predict on a booted systemd host: real units, what is told of an umount, and that it then comes so."""

import json
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.machine import Machine

VOLUME = "/srv/volume"


@pytest.fixture
def volume(host: Machine) -> Iterator[str]:
    """A tmpfs, mounted on a host whose "/" is shared."""
    host.run("mkdir", "-p", VOLUME)
    host.run("mount", "-t", "tmpfs", "volume", VOLUME)
    yield VOLUME
    host.run("umount", "--lazy", VOLUME, check=False)


def predict(host: Machine, *arguments: str, status: int) -> str:
    done = host.run("/usr/local/bin/mountwarden", "predict", "umount", *arguments, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return str(done.stdout)


def umount(host: Machine, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return host.run("umount", *arguments, check=False)


def has(host: Machine, unit: str, path: str) -> bool:
    return f" {path} " in host.read(f"/proc/{host.main_pid(unit)}/mountinfo")


def test_which_units_it_reaches_and_where_it_stays_and_why(host: Machine, volume: str) -> None:
    slave = host.unit("reached", "PrivateTmp=yes")
    private = host.unit("severed", "PrivateTmp=yes", "MountFlags=private")
    told = predict(host, volume, status=0)
    words = " ".join(told.split())
    assert told.startswith(f"umount of {volume} would succeed, reach 1 copy and leave 1 copy behind\n")
    assert f"in the namespace of {slave}" in words
    assert f"in the namespace of {private}" in words
    assert (
        f"why: {private} has MountFlags=private (set when it was started as a transient unit), "
        "so umounts on the host do not reach its mount namespace."
    ) in words
    document = json.loads(predict(host, volume, "--json", status=0))
    codes = {space["holders"][0]["unit"]: space["cause"] and space["cause"]["code"] for space in document["namespaces"]}
    assert codes == {slave: None, private: "mount-flags"}
    assert umount(host, volume).returncode == 0
    assert (has(host, slave, volume), has(host, private, volume)) == (False, True)
    host.run("rmdir", volume)
    assert not has(host, private, volume)
    host.run("systemctl", "stop", slave, private)


def test_whose_unit_makes_it_busy(host: Machine, volume: str) -> None:
    unit = host.unit("worker", "PrivateTmp=yes", f"WorkingDirectory={volume}")
    told = predict(host, volume, status=1)
    pid = host.main_pid(unit)
    assert told.startswith(f"umount of {volume} would fail: a copy that it reaches is busy\n")
    assert f"busy: process {pid} (sleep, {unit}) has its working directory on the copy in its namespace" in told
    document = json.loads(predict(host, volume, "--json", status=1))
    assert [(who["pid"], who["unit"]) for who in document["because"]] == [(pid, unit)]
    refused = umount(host, volume)
    assert refused.returncode != 0
    assert "busy" in refused.stderr
    assert "would succeed, reach 1 copy and leave nothing behind" in predict(host, "--lazy", volume, status=0)
    assert umount(host, "--lazy", volume).returncode == 0
    assert not has(host, unit, volume)
    host.run("systemctl", "stop", unit)


def test_a_link_leads_there_and_what_is_no_mountpoint_is_told(host: Machine, volume: str) -> None:
    host.run("ln", "-sfn", volume, "/srv/link")
    assert predict(host, "/srv/link", status=0).startswith(f"umount of {volume} would succeed")
    host.run("mkdir", "-p", f"{volume}/inside")
    told = predict(host, f"{volume}/inside", status=2)
    assert told.startswith(
        f"umount of {volume}/inside would fail: nothing is mounted there; it lies on what is mounted at {volume}\n"
    )
    host.run("rm", "/srv/link")


ASK_ALL = """
import os
from mountwarden.predict import umount
from mountwarden.kernel import abi, syscalls
os.makedirs("/srv/stack")
syscalls.mount(b"stack", b"/srv/stack", b"tmpfs")
syscalls.mount(None, b"/srv/stack", None, abi.MS_PRIVATE)
for _ in range(300):
    syscalls.mount(b"/srv/stack", b"/srv/stack", None, abi.MS_BIND)
with open("/proc/self/mountinfo", "rb") as file:
    points = {line.split()[4] for line in file}
for point in sorted(points):
    print(umount.umount(point, lazy=True).answer, umount.umount(point, lazy=False).answer, os.fsdecode(point))
for _ in range(301):
    syscalls.umount(b"/srv/stack", 0)
"""


def test_every_mount_of_the_host_has_an_answer(host: Machine) -> None:
    """Beside a namespace in which mounts are locked; a stack of a hundred took minutes to compare before."""
    unit = host.unit("user-namespace", "PrivateUsers=yes", "PrivateTmp=yes")
    host.run("unshare", "-Um", "sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $! > /run/user-namespace")
    lines = host.python(ASK_ALL, timeout=30).stdout.splitlines()
    host.run("sh", "-c", "kill $(cat /run/user-namespace)")
    host.run("systemctl", "stop", unit)
    assert len(lines) > 10
    assert {line.split()[0] for line in lines} == {"ok"}
    assert {line.split()[1] for line in lines} == {"ok", "busy"}
