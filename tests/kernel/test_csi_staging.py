"""CSI's staged volumes whose block device is not there any more; the kubelet is a process of that name."""

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from mountwarden.engines.ownership import can_be_abandoned, owners
from mountwarden.engines.sources import Host
from mountwarden.model import Base, Layout, Match, Mount, Root, RootKind, RootState, Spot
from mountwarden.observe.enter import own_namespace
from mountwarden.observe.processes import Daemon, comm

from tests.support.wait import wait_until

STAGED = b"plugins/kubernetes.io/csi/driver/hash/globalmount"
GONE = "253:1048575"
"""A number that no block device has."""


@pytest.fixture
def kubelet(tmp_path: Path) -> Iterator[Daemon]:
    program = tmp_path / "kubelet"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "100"]) as child:
        wait_until(lambda: comm(child.pid) == "kubelet", 10)
        yield Daemon(child.pid, "kubelet", (b"kubelet",), own_namespace(), own=True)
        child.kill()


def pair(rel: bytes, device: str) -> tuple[Match, Mount]:
    root = Root(b"/var/lib/kubelet", "kubelet", RootKind.VOLUME, (Layout(b"*", None),), own_namespace())
    point = root.path + b"/" + rel
    mount = Mount(1, 1, device, b"/", point, b"rw", 0, 0, 0, False, "ext4", b"/dev/sdz", b"rw")
    base = Base(replace(mount, device="0:9", point=b"/"), Spot("0:9", b"/"), b"")
    return Match(root, base, Layout(rel, None), rel, rel, point, Spot("0:9", point)), mount


def answer(kubelet: Daemon | None, *pairs: tuple[Match, Mount], older_than: float = 0.0) -> str:
    """Of the first."""
    live = {match.spot: (mount,) for match, mount in pairs}
    matches = {match.spot: match for match, _mount in pairs}
    states = (RootState(pairs[0][0].root, own_namespace(), None, (), live, matches),)
    host = Host((kubelet,) if kubelet else ())
    return owners(host, states, pairs[:1], older_than=older_than)[0].state


def test_a_staged_volume_without_its_device(kubelet: Daemon) -> None:
    staged, pod = pair(STAGED, GONE), pair(b"pods/uid/volumes/kubernetes.io~csi/pv/mount", GONE)
    assert can_be_abandoned(staged[0])
    assert not can_be_abandoned(pod[0])
    assert answer(kubelet, staged) == "gone"
    assert answer(kubelet, staged, pod) == "unknown"
    assert answer(kubelet, pod) == "unknown"
    assert answer(kubelet, staged, older_than=3600) == "unknown"
    assert answer(None, staged) == "unknown"
    os.kill(kubelet.pid, signal.SIGSTOP)
    wait_until(lambda: answer(kubelet, staged) == "unknown", 10)
    os.kill(kubelet.pid, signal.SIGCONT)
    wait_until(lambda: answer(kubelet, staged) == "gone", 10)


def test_a_device_that_is_there_and_one_that_is_none(kubelet: Daemon) -> None:
    for device in (os.listdir("/sys/dev/block")[0], "0:99"):
        assert answer(kubelet, pair(STAGED, device)) == "unknown"


def test_a_kubelet_that_has_ended(kubelet: Daemon) -> None:
    os.kill(kubelet.pid, signal.SIGKILL)
    wait_until(lambda: answer(kubelet, pair(STAGED, GONE)) == "unknown", 10)
