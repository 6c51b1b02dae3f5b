"""Many leaks at once on a booted host, and what the service stops doing, or never does, by itself."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.host.test_agent import UNIT, Service
from tests.support.leaks import CONFIG, OBSERVE, ROOT
from tests.support.looked import await_look
from tests.support.machine import Machine
from tests.support.product import LIBRARY
from tests.support.wait import wait_until

_MOUNT = """
import os, sys
from mountwarden.kernel import syscalls
for number in range(int(sys.argv[2])):
    layer = b"%b/many%d" % (os.fsencode(sys.argv[1]), number)
    names = [layer + b"/" + name for name in (b"lower", b"upper", b"work", b"merged")]
    for name in names:
        os.makedirs(name)
    syscalls.mount(b"overlay", names[3], b"overlay", 0, b"lowerdir=%b,upperdir=%b,workdir=%b" % tuple(names[:3]))
"""
_UNMOUNT = """
import os, sys
from mountwarden.kernel import syscalls
for number in range(int(sys.argv[2])):
    syscalls.umount(b"%b/many%d/merged" % (os.fsencode(sys.argv[1]), number))
"""


class Fresh(Service):
    """A service whose journal entries of earlier tests don't count."""

    def events(self, *matches: str, event: str | None = None) -> list[dict[str, Any]]:
        return super().events(*matches, f"_PID={self.host.main_pid(UNIT)}", event=event)


@pytest.fixture
def service(host: Machine) -> Iterator[Service]:
    made = Fresh(host)
    yield made
    made.reset()
    host.run("sh", "-c", f"umount -l {ROOT}; rmdir {ROOT}", check=False)


def leak(service: Service, count: int) -> str:
    """So many leaks in one unit, whose mounts the service, if it runs, has seen at home."""
    host = service.host
    host.python(_MOUNT, ROOT, str(count))
    mounted = time.time()
    if host.show(UNIT, "ActiveState") == "active":
        # So many mounts at once cost looks, which put off the next one by up to 30 s.
        await_look(host, mounted, 60)
    unit = host.unit("many", "PrivateTmp=yes", "MountFlags=private")
    service.leaks.units.add(unit)
    host.python(_UNMOUNT, ROOT, str(count))
    return unit


_LEAK_EACH = """
import os, sys
from mountwarden.kernel import abi, syscalls
root, count, spaces = os.fsencode(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
def merged(number):
    return root + b"/many%d/merged" % number
for space in range(spaces):
    own = range(count * space // spaces, count * (space + 1) // spaces)
    for number in own:
        names = [root + b"/many%d/" % number + name for name in (b"lower", b"upper", b"work", b"merged")]
        for name in names:
            os.makedirs(name)
        syscalls.mount(b"overlay", names[3], b"overlay", 0, b"lowerdir=%b,upperdir=%b,workdir=%b" % tuple(names[:3]))
    reader, writer = os.pipe()
    if os.fork() == 0:
        syscalls.unshare(abi.CLONE_NEWNS)
        syscalls.mount(None, b"/", None, abi.MS_REC | abi.MS_PRIVATE)
        os.write(writer, b".")
        os.execvp("sleep", ["sleep", "1000"])
    os.read(reader, 1)
    for fd in (reader, writer):
        os.close(fd)
    for number in own:
        syscalls.umount(merged(number))
os.wait()
"""


def leak_each(service: Service, count: int, spaces: int) -> None:
    """So many leaks in so many namespaces of one unit, as many in each."""
    host = service.host
    host.write("/root/leak.py", f"import sys\nsys.path.insert(0, {LIBRARY!r})\n{_LEAK_EACH}")
    unit = host.unit("many", command=("python3", "/root/leak.py", ROOT, str(count), str(spaces)))
    service.leaks.units.add(unit)
    wait_until(lambda: held_everywhere(host) == count, 60, "all have leaked")


def held(host: Machine, unit: str) -> int:
    return host.read(f"/proc/{host.main_pid(unit)}/mountinfo").count(f" {ROOT}/many")


def span(entries: list[dict[str, Any]]) -> float:
    """Seconds from the first to the last of journal entries."""
    at = [float(entry["__REALTIME_TIMESTAMP"]) / 1e6 for entry in entries]
    return max(at) - min(at)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_thousand_leaks_are_detached_by_one_command(host: Machine, service: Service) -> None:
    service.leaks.prepare()
    service.configure(CONFIG)
    unit = leak(service, 1000)
    assert held(host, unit) == 1000
    done = host.run("bash", "-c", "TIMEFORMAT='%R %U %S'; time mountwarden detach --all --yes", timeout=120)
    took, user, system = map(float, done.stderr.split())
    assert len(done.stdout.splitlines()) == 1000
    assert held(host, unit) == 0
    entries = host.journal("SYSLOG_IDENTIFIER=mountwarden", "MOUNTWARDEN_EVENT=acted")
    assert len({entry["MOUNTWARDEN_FINDING"] for entry in entries}) == len(entries) == 1000
    assert all(entry["MOUNTWARDEN_SAW"] and entry["MOUNTWARDEN_VERIFIED"] for entry in entries)
    print(
        f"1,000 leaks: told in the journal within {span(entries):.2f} s; the whole command, with the confirm time, "
        f"{took:.2f} s, {user + system:.2f} s of processor time"
    )
    assert user + system < 8, "processor time, since other tests may run beside this one"


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_thousand_leaks_of_three_hundred_namespaces_are_detached_by_one_command(
    host: Machine, service: Service
) -> None:
    service.leaks.prepare()
    service.configure(CONFIG)
    leak_each(service, 1000, 300)
    assert held_everywhere(host) == 1000
    done = host.run("bash", "-c", "TIMEFORMAT='%R %U %S'; time mountwarden detach --all --yes", timeout=120)
    took, user, system = map(float, done.stderr.split())
    assert (len(done.stdout.splitlines()), held_everywhere(host)) == (1000, 0)
    print(f"1,000 leaks of 300 namespaces: {took:.2f} s, {user + system:.2f} s of processor time")
    assert user + system < 20, "more where other tests run beside it: a batch has a time, not a number"


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_service_is_asked_for_a_thousand_detaches_at_once(host: Machine, service: Service) -> None:
    service.start(OBSERVE)
    unit = leak(service, 1000)

    def confirmed() -> int:
        return sum(one["confirmed"] for one in service.document("report")["findings"])

    wait_until(lambda: confirmed() == 1000, 60, "all are found, and have lasted")
    done = host.run("bash", "-c", "TIMEFORMAT='%R'; time mountwarden detach --all --yes", timeout=120)
    assert (len(done.stdout.splitlines()), held(host, unit)) == (1000, 0), done.stdout[:500] + done.stderr[:500]
    entries = wait_until(lambda: _if_as_many(service.events(event="acted"), 1000), 30, "each act is told")
    assert {entry["MOUNTWARDEN_BY"].split(",")[0] for entry in entries} == {"uid 0"}
    print(f"1,000 leaks by a command that asks the service: {float(done.stderr):.2f} s")
    assert float(done.stderr) < 30


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_service_ends_a_thousand_by_itself_which_are_one_incident(host: Machine, service: Service) -> None:
    service.start("acts_per_minute = 10\n" + CONFIG)
    unit = leak(service, 1000)
    wait_until(lambda: held(host, unit) == 0, 120, "all are detached")
    entries = wait_until(lambda: _if_as_many(service.events(event="acted"), 1000), 30, "each act is told")
    assert {entry["MOUNTWARDEN_EVIDENCE"] for entry in entries} == {"history"}
    found = [*service.events(event="found"), *service.events("MOUNTWARDEN_SUMMARY_OF=found", event="summary")]
    print(
        f"1,000 leaks by the service: from the first that was found to the last that was acted on "
        f"{span([*found, *entries]):.2f} s, the acts in {span(entries):.2f} s"
    )
    assert span([*found, *entries]) < 60


def _if_as_many(entries: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    assert len(entries) <= count
    return entries if len(entries) == count else []


_NAMESPACES = "for i in $(seq 300); do unshare --mount --propagation private sleep 1000 & done; wait"
_HAVE = """
import os, sys
def first():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            yield os.readlink(f"/proc/{pid}/ns/mnt"), f"/proc/{pid}/mountinfo"
        except OSError:
            pass
print(sum(open(path).read().count(sys.argv[1]) for path in dict(first()).values()))
"""


def held_everywhere(host: Machine) -> int:
    """Copies in all mount namespaces."""
    return int(host.python(_HAVE, f" {ROOT}/many").stdout)


def peak(host: Machine, name: str = "VmHWM") -> float:
    """MiB of memory that the service had at most."""
    text = host.read(f"/proc/{host.main_pid(UNIT)}/status")
    return int(text.split(f"{name}:")[1].split()[0]) / 1024


def spread(service: Service) -> None:
    """40 live layers, copied into 300 private mount namespaces of one unit and into its own."""
    service.leaks.prepare()
    service.host.python(_MOUNT, ROOT, "40")
    unit = service.host.unit("many", "PrivateTmp=yes", "MountFlags=private", command=("bash", "-c", _NAMESPACES))
    service.leaks.units.add(unit)
    wait_until(lambda: held_everywhere(service.host) == 302 * 40, 60, "all namespaces have copies")


@pytest.mark.long
@pytest.mark.timeout(600)
def test_forty_layers_that_leaked_into_three_hundred_namespaces(host: Machine, service: Service) -> None:
    """110 private pods do it with no attacker: 12,040 copies, which are 40 findings."""
    spread(service)
    service.start()
    before, unmounted = peak(host), time.time()
    host.python(_UNMOUNT, ROOT, "40")
    entries = wait_until(lambda: _if_as_many(service.events(event="acted"), 40), 240, "each act is told")
    assert held_everywhere(host) == 0
    found, acted = (
        [float(entry["__REALTIME_TIMESTAMP"]) / 1e6 - unmounted for entry in some]
        for some in (service.events("MOUNTWARDEN_SUMMARY_OF=found", event="summary"), entries)
    )
    print(
        f"12,040 copies: found after {max(found):.2f} s, the first detach told after {min(acted):.2f} s, the last "
        f"after {max(acted):.2f} s; the service had {peak(host):.0f} MiB at most, {before:.0f} MiB before; it took "
        f"{int(host.show(UNIT, 'CPUUsageNSec')) / 1e9:.1f} s of processor time, its start included"
    )
    assert {entry["MOUNTWARDEN_EVIDENCE"] for entry in entries} == {"history"}
    assert all(len(entry["MOUNTWARDEN_NAMESPACE"]) == 20 for entry in entries)
    assert peak(host) < 96


@pytest.mark.long
@pytest.mark.timeout(300)
def test_what_leaked_into_three_hundred_namespaces_is_reported_in_two_megabytes(
    host: Machine, service: Service
) -> None:
    spread(service)
    service.start(OBSERVE)
    host.python(_UNMOUNT, ROOT, "40")

    def confirmed() -> list[dict[str, Any]]:
        found = [one for one in service.document("report")["findings"] if one["kind"] == "leaked" and one["confirmed"]]
        return found if len(found) == 40 else []

    found = wait_until(confirmed, 60, "all are confirmed")
    assert {(one["count"], one["namespaces"], len(one["copies"])) for one in found} == {(301, 301, 20)}
    size = len(host.read("/run/mountwarden/report.json")) / 2**20
    saved = len(host.read("/run/mountwarden/ledger.json")) / 2**20
    print(f"12,040 copies: report {size:.2f} MiB, ledger {saved:.2f} MiB, the service {peak(host):.0f} MiB at most")
    assert size < 2
    assert saved < 1
    assert peak(host) < 96


def planned(host: Machine, kind: str) -> dict[str, Any]:
    """The first remedy that `mountwarden plan` has for the one finding of that kind."""
    told = json.loads(host.run("mountwarden", "report", "--json", check=False).stdout)
    (finding,) = (one for one in told["findings"] if one["kind"] == kind and one["root"] == ROOT)
    (plan,) = json.loads(host.run("mountwarden", "plan", finding["id"], "--json").stdout)["plan"]
    return dict(plan["remedies"][0])


@pytest.mark.long
def test_a_root_that_is_made_private_again_and_again_is_left_to_its_owner(host: Machine, service: Service) -> None:
    service.start()
    for times in (1, 2):
        host.run("mount", "--make-private", ROOT)
        wait_until(lambda: len(service.events(event="acted")) == times, 30, "it is shared")  # noqa: B023
        wait_until(lambda: len(service.events(event="cleared")) == times, 30, "that is seen")  # noqa: B023
    host.run("mount", "--make-private", ROOT)
    (told,) = wait_until(lambda: service.events(event="left-alone"), 30, "it is left alone")
    assert "shared 2 times and made private again each time" in told["MESSAGE"]
    assert 'policy = "off" keeps mountwarden from sharing it again' in told["MESSAGE"]
    share = planned(host, "private-root")
    assert (share["action"], share["automatic"]) == ("share", False)
    assert "made private again each time" in share["reason"]
    scanned = time.time()
    await_look(host, scanned)
    assert (len(service.events(event="left-alone")), len(service.events(event="acted"))) == (1, 2)
    assert host.run("findmnt", "-no", "PROPAGATION", ROOT).stdout.strip() == "private"


def test_an_agent_that_only_observes_acts_on_nothing_and_the_plan_knows(host: Machine, service: Service) -> None:
    service.drop_in("ExecStart=\nExecStart=/usr/local/bin/mountwarden agent --observe")
    service.start()
    mountpoint, unit = service.make_seen("observed")
    service.await_event("found", mountpoint)
    detach = planned(host, "leaked")
    assert (detach["action"], detach["automatic"], detach["reason"]) == ("detach", False, "the mode is observe")
    assert detach["command"], "an operator may do it all the same"
    scanned = time.time()
    await_look(host, scanned)
    assert service.events(event="acted") == []
    assert mountpoint in host.read(f"/proc/{host.main_pid(unit)}/mountinfo")
