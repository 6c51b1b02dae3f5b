"""mountwarden who on a booted systemd host: what units, users' units and systemd itself hold, and what ends that."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import tree
from tests.support.fixtures import booted
from tests.support.machine import Machine
from tests.support.wait import wait_until

DISK = "/srv/disk"
USER = ("setpriv", "--reuid=1000", "--regid=1000", "--init-groups", "env", "XDG_RUNTIME_DIR=/run/user/1000")


@pytest.fixture(scope="module", params=tree.BOTH)
def host(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A booted host with a user's systemd. bookworm's systemd (252) does not tell what is in a descriptor store."""
    with booted(request.param) as machine:
        machine.run("loginctl", "enable-linger", "user")
        machine.run("systemctl", "start", "user@1000.service")
        yield machine


@pytest.fixture
def disk(host: Machine) -> Iterator[str]:
    host.run("mkdir", "-p", DISK)
    host.run("mount", "-t", "tmpfs", "-o", "mode=1777", "disk", DISK)
    host.run("sh", "-c", f"echo x > {DISK}/file; chmod 666 {DISK}/file")
    yield DISK
    host.run("umount", "--lazy", DISK, check=False)


def who(host: Machine, asked: str) -> dict[str, Any]:
    done = host.run("mountwarden", "who", asked, "--json", check=False)
    assert done.returncode in (0, 1), done.stderr
    return dict(json.loads(done.stdout))


def predict(host: Machine, path: str) -> dict[str, Any]:
    return dict(json.loads(host.run("mountwarden", "predict", "umount", path, "--json", check=False).stdout))


def used(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in answer["keepers"] if one["how"] not in ("mount", "stacked")]


def busy(host: Machine) -> bool:
    done: subprocess.CompletedProcess[str] = host.run("umount", DISK, check=False)
    return done.returncode != 0


def ends(host: Machine, command: str) -> None:
    """The command that was printed ends it."""
    assert busy(host)
    host.run("sh", "-c", command)
    wait_until(lambda: not busy(host), 5, "the file system can be unmounted")


STORE = """
import os, socket, sys, time
fd = os.open("/srv/disk/file", os.O_RDONLY)
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
    notify.connect(os.environ["NOTIFY_SOCKET"])
    socket.send_fds(notify, [b"READY=1\\nFDSTORE=1\\nFDNAME=kept"], [fd])
os.close(fd)
time.sleep(1000)
"""
STORING = ("Type=notify", "NotifyAccess=all", "FileDescriptorStoreMax=5")


def has_stored(host: Machine, unit: str, *systemctl: str) -> bool:
    command = [*systemctl, "show", "--value", "-p", "NFileDescriptorStore", unit]
    return host.run(*command).stdout.strip() not in ("", "0")


def check_store(host: Machine, unit: str, whose: str, command: str) -> None:
    (keeper,) = used(who(host, DISK))
    assert keeper["how"] == "file"
    assert f"file descriptor store of {unit}{whose}" in keeper["needs"], keeper
    if host.run("systemctl", "--version").stdout.split()[1] >= "254":
        assert keeper["command"] == command
    else:
        assert "may be" in keeper["needs"]
        assert keeper["command"] is None, "it is not known to be in it"
    told = host.run("mountwarden", "who", DISK, check=False).stdout
    assert "must close it, or end" not in told
    ends(host, command)


def test_the_unit_whose_descriptor_store_holds_a_file(host: Machine, disk: str) -> None:
    unit = host.unit("storing", *STORING, command=["python3", "-c", STORE])
    wait_until(lambda: has_stored(host, unit, "systemctl"), 5, "the descriptor is in the store")
    assert [one["pid"] for one in predict(host, disk)["because"]] == [1]
    check_store(host, unit, "", f"systemctl stop {unit}")


def test_the_unit_of_a_user_s_systemd_whose_descriptor_store_holds_a_file(host: Machine, disk: str) -> None:
    settings = [word for text in STORING for word in ("-p", text)]
    host.run(*USER, "systemd-run", "--user", "--quiet", "--unit=kept", *settings, "python3", "-c", STORE)
    of_user = ("systemctl", "--user", "--machine=1000@.host")
    wait_until(lambda: has_stored(host, "kept.service", *of_user), 5, "the descriptor is in the store")
    check_store(host, "kept.service", " of user 1000", "systemctl --user --machine=1000@.host stop kept.service")


def test_the_socket_unit_whose_fifo_it_is(host: Machine, disk: str) -> None:
    host.write("/run/systemd/system/pipe.socket", f"[Socket]\nListenFIFO={disk}/fifo\n")
    host.write("/run/systemd/system/pipe.service", "[Service]\nExecStart=sleep infinity\n")
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "start", "pipe.socket")
    (keeper,) = used(who(host, disk))
    assert keeper["command"] == "systemctl stop pipe.socket"
    ends(host, keeper["command"])


@pytest.mark.parametrize(("kind", "options"), [("service", ()), ("scope", ("--scope",))])
def test_a_unit_of_a_user_s_systemd(host: Machine, disk: str, kind: str, options: tuple[str, ...]) -> None:
    unit = f"app-portal{kind}.{kind}"
    run = ["systemd-run", "--user", "--quiet", f"--unit={unit}", "--slice=session.slice", *options]
    with host.popen(*USER, *run, "sh", "-c", f"exec 3<{disk}/file; exec sleep infinity") as started:
        wait_until(lambda: bool(used(who(host, disk))), 10, "the unit has the file open")
        (keeper,) = used(who(host, disk))
        stop = f"systemctl --user --machine=1000@.host stop {unit}"
        assert (keeper["command"], keeper["holders"][0]["user_unit"]) == (stop, unit)
        assert f"stop {unit} of user 1000" in keeper["needs"]
        (holder,) = predict(host, disk)["because"]
        assert (holder["unit"], holder["user_unit"]) == ("user@1000.service", unit)
        ends(host, stop)
        started.communicate(timeout=10)


def test_a_session(host: Machine, disk: str) -> None:
    """As logind makes one; its scope is what `who` sees."""
    scope = ["systemd-run", "--quiet", "--scope", "--unit=session-77.scope", "--slice=user-0.slice"]
    with host.popen(*scope, "sh", "-c", f"exec 3<{disk}/file; exec sleep infinity") as started:
        wait_until(lambda: bool(used(who(host, disk))), 10, "the session has the file open")
        (keeper,) = used(who(host, disk))
        assert keeper["command"] == "loginctl terminate-session 77"
        host.run("systemctl", "stop", "session-77.scope")
        started.communicate(timeout=10)


def test_default_units_with_slave_namespaces_are_no_holders(host: Machine, disk: str) -> None:
    slave = host.unit("web", "PrivateTmp=yes")
    severed = host.unit("cut", "PrivateTmp=yes", "MountFlags=private")
    answer, forecast = who(host, disk), predict(host, disk)
    assert {one["mount_id"] for one in answer["goes_along"]} == {one["mount_id"] for one in forecast["reached"]}
    assert slave in {one["holders"][0]["unit"] for one in answer["goes_along"]}
    assert [one["holders"] and one["holders"][0]["unit"] for one in answer["keepers"]] == [[], severed]
    assert answer["keepers"][1]["command"] == f"systemctl restart {severed}"
    told = host.run("mountwarden", "who", disk, check=False).stdout
    assert "goes along with an umount on the host" in told
    assert f"restart {slave}" not in told
    host.run("umount", disk)
    host.run("rmdir", disk)
    host.run("systemctl", "stop", slave, severed)


def test_who_lives_in_a_network_namespace(host: Machine) -> None:
    for name in ("blue", "red"):
        host.run("ip", "netns", "add", name)
    blue = host.unit("in-blue", "NetworkNamespacePath=/run/netns/blue")
    red = host.unit("in-red", "NetworkNamespacePath=/run/netns/red", "PrivateMounts=yes")
    answer = who(host, "/run/netns/blue")
    lives = [one for one in answer["keepers"] if one["how"] == "lives"]
    assert [(one["command"], one["holders"][0]["unit"]) for one in lives] == [(f"systemctl stop {blue}", blue)]
    assert red not in {holder["unit"] for one in answer["keepers"] for holder in one["holders"]}
    assert {one["where"] for one in answer["keepers"] if one["how"] == "mount"} == {"/run/netns/blue"}
    host.run("systemctl", "stop", blue, red)
    for name in ("blue", "red"):
        host.run("ip", "netns", "delete", name)


def test_the_host_s_own_network_namespace_lasts_as_long_as_the_host(host: Machine) -> None:
    (lives,) = (one for one in who(host, "/proc/1/ns/net")["keepers"] if one["how"] == "lives")
    assert (lives["holders"], lives["command"]) == ([], None)
    assert "as long as the host" in lives["needs"]
