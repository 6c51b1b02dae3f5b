"""What runs in a guest: `python3 -m tests.support.vm.inside [TEST-FILE]...`, whose last line is one JSON document.

It holds what the kernel has by trying it, what the commands said and did on a leak made here, and what became of each
test. The guest is thrown away, so its own mount namespace is home and nothing is cleaned up.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from mountwarden.kernel import abi, syscalls

from tests.support.scratch_ns import Namespace, hold, in_child, overlay
from tests.support.vm import measure
from tests.support.vm.facts import facts
from tests.support.wait import wait_until

MARK = "@@answers "
ROOT = b"/srv/layers"
UNIT = "leaky.service"
NOBODY = 65534
_PATIENCE = 120.0
_LEFT_OUT = (
    "test_namespaces.py::test_the_table_of_50_live_namespaces_equals_findmnt_s",
    "test_triggers.py::test_a_busy_root_costs_nothing",
    "test_superblocks.py::test_ten_cost_little_more_than_their_calls_and_are_counted",
    "test_superblocks.py::test_btrfs_has_the_number_that_mountinfo_shows",
)
"""Of tests/kernel: what takes too long, or measures a processor, under emulation; what has no btrfs there."""
TIERS = ("mountinfo", "statmount", "events")
_CONFIG = f'[[root]]\npath = "{ROOT.decode()}"\nkind = "graph"\n'


# The commands


def command(*words: str, user: int = 0, before: Sequence[str] = ()) -> dict[str, Any]:
    """Run mountwarden, by way of the command `before`; what it printed is parsed where it is JSON."""
    started = time.monotonic()

    def become() -> None:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)

    done = subprocess.run(
        [*before, sys.executable, "-m", "mountwarden", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        preexec_fn=become if user else None,
    )
    answer: dict[str, Any] = {"status": done.returncode, "stderr": done.stderr, "seconds": time.monotonic() - started}
    if done.stdout.startswith("{"):
        return answer | {"json": json.loads(done.stdout)}
    return answer | {"stdout": done.stdout}


def story() -> dict[str, Any]:
    """A root that is private, a leak, a severed copy: each found and ended by the commands, in this order."""
    Path("/etc/mountwarden").mkdir(parents=True)
    Path("/etc/mountwarden/mountwarden.toml").write_text(_CONFIG)
    os.makedirs(ROOT)
    syscalls.mount(b"layers", ROOT, b"tmpfs")
    syscalls.mount(None, ROOT, None, abi.MS_PRIVATE)
    told: dict[str, Any] = {"private": _report(), "share": command("share", os.fsdecode(ROOT), "--json")}
    leaked, live = overlay(ROOT + b"/leaked"), overlay(ROOT + b"/live")
    with _service() as service:
        with hold(propagation="private") as process:
            syscalls.umount(leaked.merged)
            told["leak"] = _report("--wait", "5")
            told["detach"] = command("detach", _id(told["leak"], "leaked", "service"), "--json")
            told["copies after detach"] = [n.is_mounted(leaked.merged) for n in (service, process)]
        told["rejoin"] = command("rejoin", _id(told["leak"], "severed", "service"), "--yes", "--json")
        syscalls.umount(live.merged)
        told["copy after umount"] = service.is_mounted(live.merged)
        overlay(ROOT + b"/new")
        told["new mount seen"] = service.is_mounted(ROOT + b"/new/merged")
        told["left"] = _report("--wait", "5")
        if found := _id(told["left"], "leaked", "service"):
            told["detach instead"] = command("detach", found, "--json")
        told["copy at the end"] = service.is_mounted(live.merged)
    told["end"] = _report("--wait", "5")
    return told


def by_itself() -> dict[str, Any]:
    """The agent sees a layer live and then leaked, ends the leak by itself, and ends when it is told to."""
    with open("/tmp/agent", "w+") as said:
        agent = subprocess.Popen([sys.executable, "-m", "mountwarden", "agent"], stdin=subprocess.DEVNULL, stderr=said)
        layer = overlay(ROOT + b"/watched")
        with _service() as holder:
            wait_until(lambda: "severed" in _published(), _PATIENCE, "the agent sees the copy of a live layer")
            syscalls.umount(layer.merged)
            started = time.monotonic()
            wait_until(lambda: not holder.is_mounted(layer.merged), _PATIENCE, "the agent detaches what leaked")
            told: dict[str, Any] = {"seconds": time.monotonic() - started, "stays": os.path.isdir(layer.merged)}
            told["state"] = command("status", "--json")
        agent.send_signal(signal.SIGTERM)
        told["status"] = agent.wait(_PATIENCE)
        said.seek(0)
        return told | {"stderr": said.read()}


def _published() -> set[str]:
    """The kinds of findings in the agent's last report."""
    try:
        report = json.loads(Path("/run/mountwarden/report.json").read_text())
    except FileNotFoundError:
        return set()
    return {finding["kind"] for finding in report["findings"]}


def doctor() -> dict[str, Any]:
    """As root, and as root without the right to look into other namespaces, as a service's filter may have it."""
    weak = ("setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin")
    return {
        "root": command("doctor", "--json"),
        "without CAP_SYS_ADMIN": command("doctor", "--no-canary", "--json", before=weak),
    }


def _report(*words: str) -> dict[str, Any]:
    return command("report", "--json", *(words or ("--no-wait",)))


def _id(report: dict[str, Any], kind: str, holder: str) -> str:
    """The finding of that kind in a namespace of that kind; "" where there is none."""
    found = (f for f in report["json"]["findings"] if f["kind"] == kind)
    ids = (f["id"] for f in found if holder in [copy["namespace"]["kind"] for copy in f["copies"]])
    return str(next(ids, ""))


@contextmanager
def _service() -> Iterator[Namespace]:
    """A process with a private mount namespace, in the cgroup that systemd would give to a service."""
    cgroup = Path(f"/sys/fs/cgroup/system.slice/{UNIT}")
    cgroup.mkdir(parents=True, exist_ok=True)
    with hold(propagation="private") as namespace:
        (cgroup / "cgroup.procs").write_text(str(namespace.pid))
        yield namespace


def tiers() -> dict[str, Any]:
    """What each tier that is asked for answers."""
    return {tier: command("report", "--json", "--no-wait", "--tier", tier) for tier in TIERS}


# The tests


def tests(files: list[str]) -> dict[str, Any]:
    """Run them, and give each one's outcome by its name: passed, failed with its text, or skipped with its reason."""
    results = "/tmp/results.xml"
    started = time.monotonic()
    words = ["-q", "-m", "not long", "--tb=short", f"--junitxml={results}", *files]
    words += [f"--deselect=tests/kernel/{name}" for name in _LEFT_OUT]
    done = subprocess.run([sys.executable, "-m", "pytest", *words], stdin=subprocess.DEVNULL)
    return {
        "status": done.returncode,
        "seconds": time.monotonic() - started,
        "outcomes": {_name(case): _outcome(case) for case in ElementTree.parse(results).iter("testcase")},
    }


def _name(case: ElementTree.Element) -> str:
    return f"{(case.get('classname') or '').rpartition('.')[2]}::{case.get('name')}"


def _outcome(case: ElementTree.Element) -> list[str]:
    for kind in ("failure", "error", "skipped"):
        if (found := case.find(kind)) is not None:
            return [kind, found.get("message") or ""]
    return ["passed", ""]


def main() -> None:
    """Everything, in an order in which nothing disturbs what follows."""
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.chmod("/src", 0o755)
    answers: dict[str, Any] = {
        "release": os.uname().release,
        "python": sys.version.split()[0],
        "facts": in_child(facts),
    }
    answers["demo"] = {name: command("demo", user=user) for name, user in (("root", 0), ("nobody", NOBODY))}
    answers["story"] = story()
    answers["doctor"] = doctor()
    answers["service"] = by_itself()
    answers["tiers"] = tiers()
    answers["tests"] = tests(sys.argv[1:]) if sys.argv[1:] else None
    answers["measured"] = measure.measure(answers["story"]["leak"]["json"]["tier"])
    print(MARK + json.dumps(answers))


if __name__ == "__main__":
    main()
