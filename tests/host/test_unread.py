"""One user's mount namespace that can't be read, on a booted host: everybody else's leaks end all the same."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.host.test_agent import Service
from tests.support.leaks import CONFIG, ROOT
from tests.support.machine import Machine
from tests.support.wait import wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]

USER = "tenant"
STACK = """
import ctypes, os, signal
libc = ctypes.CDLL(None, use_errno=True)
BIND, SHARED = 4096, 1 << 20
def mount(source, flags):
    if libc.mount(source, b"/tmp/stack", None, flags, None):
        raise OSError(ctypes.get_errno(), "mount")
libc.mount(b"tmpfs", b"/tmp", b"tmpfs", 0, None)
os.mkdir("/tmp/stack")
mount(b"/tmp/stack", BIND)
mount(None, SHARED)
for _ in range(16):
    mount(b"/tmp/stack", BIND)
signal.pause()
"""
"""65,536 mounts on one another: to read them takes some 16 s of processor time, more than any budget."""


class Attack:
    """What a user does with `unshare -Urm`."""

    def __init__(self, host: Machine) -> None:
        self._host = host
        host.run("useradd", USER, check=False)
        self._unit = host.unit(USER, f"User={USER}", command=("unshare", "-Urm", "python3", "-c", STACK))
        self.pid = host.main_pid(self._unit)
        own = host.run("readlink", "/proc/1/ns/mnt").stdout
        wait_until(lambda: self._link() != own or None, 30, "its own namespace")
        self.inode = int(self._link().strip()[5:-1])

    def _link(self) -> str:
        return self._host.run("readlink", f"/proc/{self.pid}/ns/mnt").stdout

    @property
    def lives(self) -> bool:
        """Whether it goes on."""
        return self._host.main_pid(self._unit) == self.pid

    def end(self) -> None:
        """End it."""
        self._host.run("systemctl", "stop", self._unit, check=False)


@pytest.fixture
def attacked(host: Machine) -> Iterator[tuple[Service, Attack]]:
    """The service of a host where that user is; its report says that it can't read that namespace."""
    service = Service(host)
    service.start(CONFIG)
    attack = Attack(host)
    wait_until(lambda: attack.inode in unread(service), 60, "the report says that it can't be read")
    yield service, attack
    attack.end()
    service.reset()


def unread(service: Service) -> dict[int, str]:
    return {gap["namespace"]: gap["reason"] for gap in service.document("report")["gaps"] if gap["namespace"]}


def told(service: Service, event: str, mountpoint: str, within: float) -> dict[str, Any]:
    return service.await_event(event, mountpoint, within)


def mountwarden(host: Machine, *words: str) -> Any:
    """A command that the service answered: on a machine that is busy with other tests it may be late."""

    def answered() -> Any:
        done = host.run("mountwarden", *words, check=False)
        return None if "gave no answer" in done.stderr or "two must not act" in done.stderr else done

    return wait_until(answered, 30, f"an answer to {words}")


def test_another_tenants_leak_ends_while_it_lives(host: Machine, attacked: tuple[Service, Attack]) -> None:
    """By the service, and by an operator through it."""
    service, attack = attacked
    host.run("chmod", "700", ROOT)
    mountpoint, _unit = service.make_seen("other")
    acted = told(service, "acted", mountpoint, 60)
    assert (acted["MOUNTWARDEN_CODE"], attack.lives) == ("done", True)
    host.run("mountwarden", "pause")
    mountpoint, _unit = service.make_seen("another")
    finding = told(service, "found", mountpoint, 60)["MOUNTWARDEN_FINDING"]
    assert f"mount namespace {attack.inode} of process " in (plan := mountwarden(host, "plan", finding).stdout)
    assert "which does not matter" in plan
    assert mountwarden(host, "detach", finding).returncode == 0
    assert told(service, "acted", mountpoint, 10)["MOUNTWARDEN_BY"].startswith("uid 0, ")
    assert (attack.lives, attack.inode in unread(service)) == (True, True)
    host.run("mountwarden", "resume")


def test_where_it_could_matter_it_is_named_and_overruled_or_waited_for(
    host: Machine, attacked: tuple[Service, Attack]
) -> None:
    service, attack = attacked
    host.run("chmod", "755", ROOT)
    mountpoint, _unit = service.make_seen("other")
    declined = told(service, "failed", mountpoint, 60)
    assert declined["MOUNTWARDEN_CODE"] == "unread"
    named = f"mount namespace {attack.inode} of process {attack.pid} (python3, {USER}.service), uid "
    assert named in declined["MESSAGE"]
    finding = declined["MOUNTWARDEN_FINDING"]
    assert f"mountwarden detach {finding} --also-unread {attack.inode}" in declined["MESSAGE"]
    mistaken = mountwarden(host, "detach", finding, "--also-unread", "17")
    assert (mistaken.returncode, mistaken.stderr.splitlines()[0]) == (
        2,
        "mountwarden: 17 is no mount namespace of this host now",
    )
    kept = mountwarden(host, "detach", finding)
    assert (kept.returncode, named in kept.stdout) == (1, True), kept.stdout + kept.stderr
    command = kept.stdout.splitlines()[-1].strip().removeprefix("→ ")
    done = mountwarden(host, *command.split()[1:], "--json")
    assert [one["done"] for one in json.loads(done.stdout)["outcomes"]] == [True], done.stdout + done.stderr
    entry = told(service, "acted", mountpoint, 10)
    assert entry["MOUNTWARDEN_ALSO_UNREAD"] == str(attack.inode)
    assert f"overruled: mount namespace {attack.inode} of process {attack.pid}" in entry["MOUNTWARDEN_SAW"]

    mountpoint, _unit = service.make_seen("waiting")
    told(service, "failed", mountpoint, 60)
    attack.end()
    told(service, "acted", mountpoint, 15)
