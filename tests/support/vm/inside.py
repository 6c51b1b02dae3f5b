"""What runs in a guest: `python3 -m tests.support.vm.inside [TEST-FILE]...`, whose last line is one JSON document.

It holds what the kernel has by trying it, what the commands said and did on a leak made here, and what became of each
test.
The guest is thrown away, so its own mount namespace is home and nothing is cleaned up.
"""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from mountwarden.kernel import abi, calls

from tests.support.scratch_ns import Namespace, hold, in_child, overlay
from tests.support.wait import wait_until

MARK = "@@answers "
ROOT = b"/srv/layers"
UNIT = "leaky.service"
NOBODY = 65534
_PATIENCE = 60.0
TIERS = ("mountinfo", "statmount", "events")
_CONFIG = f'[[root]]\npath = "{ROOT.decode()}"\nkind = "graph"\n'


# What the kernel has


def facts() -> dict[str, str]:
    """Each interface by its name: "ok", or the error's name."""
    return {name: _tried(function) for name, function in _FACTS.items()}


def _tried(function: Callable[[], object]) -> str:
    try:
        function()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "?")
    return "ok"


def _unique() -> int:
    identity = calls.mount_id(abi.AT_FDCWD, b"/", unique=True)
    if identity is None:
        raise OSError(errno.ENOSYS, "no unique id")
    return identity


def _own_namespace(function: Callable[[int], object]) -> Callable[[], None]:
    def with_descriptor() -> None:
        fd = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        try:
            function(fd)
        finally:
            os.close(fd)

    return with_descriptor


def _list_by_id(fd: int) -> None:
    calls.listmount(abi.LSMT_ROOT, 0, calls.mnt_ns_id(fd), calls.id_buffer(8))


def _watch(fd: int) -> None:
    group = calls.fanotify_init(abi.FAN_CLOEXEC | abi.FAN_NONBLOCK | abi.FAN_REPORT_MNT)
    try:
        calls.fanotify_mark(group, abi.FAN_MARK_ADD | abi.FAN_MARK_MNTNS, abi.FAN_MNT_ATTACH, fd)
    finally:
        os.close(group)


def _scratch(function: Callable[[], object], *, userns: bool = False) -> Callable[[], None]:
    """In a mount namespace of its own, with a tmpfs on /mnt."""

    def in_it() -> None:
        with hold(userns=userns) as namespace:

            def prepared() -> None:
                calls.mount(b"tmpfs", b"/mnt", b"tmpfs")
                function()

            namespace.run(prepared)

    return in_it


def _join_group() -> None:
    for name in (b"/mnt/a", b"/mnt/b"):
        os.mkdir(name)
    calls.mount(b"tmpfs", b"/mnt/a", b"tmpfs")
    calls.mount(b"/mnt/a", b"/mnt/b", None, abi.MS_BIND)
    calls.mount(None, b"/mnt/a", None, abi.MS_SHARED)
    fds = [os.open(name, os.O_PATH | os.O_CLOEXEC) for name in ("/mnt/a", "/mnt/b")]
    flags = abi.MOVE_MOUNT_SET_GROUP | abi.MOVE_MOUNT_F_EMPTY_PATH | abi.MOVE_MOUNT_T_EMPTY_PATH
    calls.move_mount(fds[0], b"", fds[1], b"", flags)
    (line,) = (x for x in Path("/proc/self/mountinfo").read_text().splitlines() if x.split(" ")[4] == "/mnt/b")
    assert "shared:" in line, line


def _set_attributes() -> None:
    fd = os.open("/mnt", os.O_PATH | os.O_CLOEXEC)
    calls.mount_setattr(fd, b"", abi.AT_EMPTY_PATH, propagation=abi.MS_SHARED)


def _remove_mountpoint() -> None:
    """Plain rmdir(2) of an unmounted mountpoint, of which another namespace has a copy."""
    layer = overlay(b"/mnt/X")
    with hold() as other:
        calls.umount(layer.merged)
        assert other.is_mounted(layer.merged)
        os.rmdir(layer.merged)
        if other.is_mounted(layer.merged):
            raise OSError(errno.EBUSY, "the copy is still there")


_FACTS: dict[str, Callable[[], object]] = {
    "rmdir": _scratch(_remove_mountpoint),
    "overlay in a user namespace": _scratch(lambda: overlay(b"/mnt/X"), userns=True),
    "mount_setattr": _scratch(_set_attributes),
    "MOVE_MOUNT_SET_GROUP": _scratch(_join_group),
    "unique mount ids": _unique,
    "statmount": lambda: calls.statmount(_unique(), abi.StatmountMask.MNT_BASIC, None, calls.id_buffer(256)),
    "listmount": lambda: calls.listmount(abi.LSMT_ROOT, 0, None, calls.id_buffer(8)),
    "listmount by namespace": _own_namespace(_list_by_id),
    "NS_MNT_GET_INFO": _own_namespace(calls.mnt_ns_info),
    "fanotify of mounts": _own_namespace(_watch),
}


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
        timeout=60,
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
    calls.mount(b"layers", ROOT, b"tmpfs")
    calls.mount(None, ROOT, None, abi.MS_PRIVATE)
    told: dict[str, Any] = {"private": _report(), "share": command("share", os.fsdecode(ROOT), "--json")}
    leaked, live = overlay(ROOT + b"/leaked"), overlay(ROOT + b"/live")
    with _service() as service:
        with hold(propagation="private") as process:
            calls.umount(leaked.merged)
            told["leak"] = _report("--wait", "5")
            told["detach"] = command("detach", _id(told["leak"], "leaked", "service"), "--json")
            told["copies after detach"] = [n.is_mounted(leaked.merged) for n in (service, process)]
        told["rejoin"] = command("rejoin", _id(told["leak"], "severed", "service"), "--yes", "--json")
        calls.umount(live.merged)
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
            calls.umount(layer.merged)
            started = time.monotonic()
            wait_until(lambda: not holder.is_mounted(layer.merged), _PATIENCE, "the agent detaches what leaked")
            told = {"seconds": time.monotonic() - started, "stays": os.path.isdir(layer.merged)}
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
    found = (f["id"] for f in report["json"]["findings"] if (f["kind"], f["namespace"]["kind"]) == (kind, holder))
    return str(next(found, ""))


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
    done = subprocess.run([sys.executable, "-m", "pytest", *words], stdin=subprocess.DEVNULL)
    return {
        "status": done.returncode,
        "seconds": time.monotonic() - started,
        "outcomes": {_name(case): _outcome(case) for case in ElementTree.parse(results).iter("testcase")},
        "times": {_name(case): float(case.get("time") or 0) for case in ElementTree.parse(results).iter("testcase")},
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
    print(MARK + json.dumps(answers))


if __name__ == "__main__":
    main()
