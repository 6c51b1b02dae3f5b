"""Namespaces that no process is in, made while the service runs: snapd keeps such ones by a bind of their nsfs file."""

import time
from collections.abc import Iterator

import pytest

from tests.host.test_agent import Service
from tests.support.leaks import CONFIG
from tests.support.looked import await_look
from tests.support.machine import Machine
from tests.support.wait import wait_until

KEPT = "/run/kept-namespaces"

BOUND = f"""
mkdir -p {KEPT} && mount --bind {KEPT} {KEPT} && mount --make-private {KEPT} && touch {KEPT}/one
for cpu in $(seq 0 64); do
    taskset --cpu-list $cpu unshare --mount={KEPT}/one --propagation private true && exit
done
exit 1
"""
"""Of a namespace whose id is lower than one's own the kernel allows no bind mount. Each processor takes some ids ahead
(Linux 6.18, kernel/nstree.c: cookies): a later one of the processor where one's own was made has a higher id.
"""
HELD = """
import ctypes, os, time
child = os.fork()
if child == 0:
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(0x20000) == 0 and libc.mount(None, b"/", None, 0x44000, None) == 0
    open("/run/made", "w").close()
    time.sleep(1000)
while not os.path.exists("/run/made"):
    time.sleep(0.01)
namespace = os.open(f"/proc/{child}/ns/mnt", os.O_RDONLY)
os.kill(child, 9)
os.waitpid(child, 0)
open("/run/held", "w").close()
time.sleep(1000)
"""


@pytest.fixture
def service(host: Machine) -> Iterator[Service]:
    """The installed service, stopped; put back afterwards, without the namespaces of these tests."""
    one = Service(host)
    yield one
    host.run("systemctl", "stop", "holder.service", check=False)
    host.run("sh", "-c", f"umount {KEPT}/one; umount {KEPT}; rm -rf {KEPT} /run/made /run/held", check=False)
    one.reset()


SHORT = {("bind", "mountinfo"), ("descriptor", "events")}
CASES = [
    pytest.param(kept, tier, marks=() if (kept, tier) in SHORT else pytest.mark.long)
    for kept in ("bind", "descriptor")
    for tier in ("mountinfo", "statmount", "events")
]


@pytest.mark.parametrize(("kept", "tier"), CASES)
def test_what_leaked_into_one_of_them_is_told_at_once_and_ended(service: Service, kept: str, tier: str) -> None:
    host = service.host
    service.start(f'tier = "{tier}"\n{CONFIG}')
    layer, mounted = service.leaks.mount(), time.time()
    await_look(host, mounted)
    if kept == "bind":
        host.run("sh", "-c", BOUND)
    else:
        host.unit("holder", command=("python3", "-c", HELD))
        wait_until(lambda: host.run("test", "-e", "/run/held", check=False).returncode == 0, 30, "it is held")
    unmounted = time.monotonic()
    host.run("umount", f"{layer}/merged")
    found = service.await_event("found", f"{layer}/merged")
    assert found["MOUNTWARDEN_EVIDENCE"] == "history"
    service.await_event("cleared", f"{layer}/merged")
    assert time.monotonic() - unmounted < 12
