"""What the running service alone knows is joined with a look of now, where it still holds."""

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from mountwarden.cli import joined, service_report
from mountwarden.errors import NoAnswer
from mountwarden.model import Door, Finding, Gap, Holder, Kind, Namespace, Severity, Tier
from mountwarden.mounts.table import Table
from mountwarden.observe import processes
from mountwarden.observe.mount_lines import LinesInHand
from mountwarden.output import report_file
from mountwarden.report import build as report
from mountwarden.report import types
from mountwarden.scan.confirm import ConfirmedScan
from mountwarden.scan.result import Scan
from mountwarden.scan.scanner import Scanner

from tests.support.findings import changed
from tests.support.reports import facts, finding
from tests.support.wait import wait_until

INODE = 4026532500
ENDED = 2**22 + 1
LEAK = finding(fstype="ext4", device="7:3", mountpoint=b"/mnt/e", seen_at=b"/mnt/e", mount_id=812)
LINE = b"812 20 7:3 / /mnt/e rw - ext4 /dev/loop3 rw"
OTHER = b"20 1 254:1 / / rw shared:1 - ext4 /dev/vda1 rw"
TWO = b"\n".join([OTHER, LINE]) + b"\n"


def scanned(*own: Finding, gaps: Iterable[Gap] = (), **changes: Any) -> ConfirmedScan:
    """A look of now with these findings, in which one other namespace has a process."""
    values: dict[str, Any] = {"namespaces": {INODE: Namespace(INODE, (os.getpid(),))}, **changes}
    picture = replace(facts([]).picture, **values)
    seen = Scan(picture, own, tuple(gaps), time.time(), 0.01, Tier.MOUNTINFO, "")
    return ConfirmedScan(cast("Scanner", None), seen, own)


def told(*findings: Finding, **changes: Any) -> types.ReportJson:
    """The report of a service that runs (it is this process)."""
    return report.build(facts(findings, **{"agent": (os.getpid(), 60.0), "taken": time.time(), **changes}))


def more(*findings: Finding, found: ConfirmedScan | None = None) -> list[str]:
    """Ids of what is joined with the look."""
    service = service_report.ServiceReport(told(*findings))
    return [one["id"] for one in joined.alone(service, found or scanned())]


class Mountinfo:
    """Stands for the reading of namespaces, each with a text of its own, and counts."""

    def __init__(self, text: bytes | Exception | None) -> None:
        self.text, self.read, self.doors = text, list[int](), list[Door | None]()

    def __call__(
        self,
        inode: int,
        pids: Iterable[int],
        function: Callable[[LinesInHand], dict[bytes, bytes]],
        door: Door | None = None,
    ) -> dict[bytes, bytes] | None:
        self.read.append(inode)
        self.doors.append(door)
        if isinstance(self.text, Exception):
            raise self.text
        return None if self.text is None else function(LinesInHand(self.text))


def shows(monkeypatch: pytest.MonkeyPatch, text: bytes | Exception | None) -> Mountinfo:
    """Let each namespace show this text."""
    reading = Mountinfo(text)
    monkeypatch.setattr(joined, "read", reading)
    return reading


def test_what_the_look_did_not_make_is_joined_as_the_service_wrote_it(monkeypatch: pytest.MonkeyPatch) -> None:
    shows(monkeypatch, TWO)
    service = service_report.ServiceReport(told(changed(LEAK, severity=Severity.CRITICAL, silenced=True)))
    (one,) = joined.alone(service, scanned())
    assert service.report
    assert one == service.report["findings"][0]


def test_the_reading_is_of_the_real_namespace() -> None:
    own = os.stat("/proc/self/ns/mnt").st_ino
    mounts = Table.from_text(Path("/proc/self/mountinfo").read_bytes()).mounts
    at = next(mount for mount in mounts if mount.point == b"/proc")
    leak = changed(LEAK, namespace=own, device=at.device, fstype=at.fstype, seen_at=at.point, mount_id=at.id)
    here = scanned(namespaces={own: Namespace(own, (os.getpid(),))})
    assert more(leak, found=here) == [LEAK.id]
    assert more(changed(leak, mount_id=max(mount.id for mount in mounts) + 1), found=here) == []
    assert more(leak, found=scanned(namespaces={own: Namespace(own, (ENDED,))})) == [], "nobody is in it by now"


@pytest.mark.parametrize(
    "text",
    [
        None,
        b"",
        OTHER + b"\n",
        TWO.replace(b"812 ", b"1812 "),
        TWO.replace(b"7:3", b"7:4"),
        TWO.replace(b"- ext4 /dev/loop3", b"- xfs /dev/loop3"),
        TWO.replace(b"/ /mnt/e", b"/ /mnt/f"),
    ],
    ids=["ended", "empty", "unmounted", "longer id", "device", "type", "moved"],
)
def test_what_is_over_is_not_joined(text: bytes | None, monkeypatch: pytest.MonkeyPatch) -> None:
    shows(monkeypatch, text)
    assert more(LEAK) == []


def test_a_namespace_that_went_has_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    reading = shows(monkeypatch, TWO)
    assert more(LEAK, found=scanned(namespaces={})) == []
    assert reading.read == [], "nor is it looked for"


def test_what_home_has_again_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    shows(monkeypatch, TWO)
    assert more(LEAK, found=scanned(home_identities=frozenset({("7:3", b"/")}))) == []
    assert more(LEAK, found=scanned(home_identities=frozenset({("7:3", b"/photos")}))) == [], "its device is in use"
    assert more(LEAK, found=scanned(home_identities=frozenset({("7:4", b"/")}))) == [LEAK.id]


def test_a_layer_is_not_over_when_another_directory_of_its_file_system_is_at_home(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shows(monkeypatch, TWO.replace(b"7:3", b"0:41"))
    assert more(changed(LEAK, device="0:41"), found=scanned(home_identities=frozenset({("0:41", b"/x")}))) == [LEAK.id]


@pytest.mark.parametrize(
    "error", [PermissionError(errno.EACCES, "no"), OSError(errno.EFBIG, "big"), NoAnswer("the child hung")]
)
def test_a_namespace_that_cannot_be_read_keeps_its_findings(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    reading = shows(monkeypatch, error)
    second = changed(LEAK, id="mw-0000000002", mount_id=813)
    assert set(more(LEAK, second)) == {LEAK.id, second.id}
    assert reading.read == [INODE], "nor is it tried twice: a child that hangs takes its time"


def test_what_cannot_be_told_keeps_its_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    shows(monkeypatch, b"812 20 nonsense\n")
    assert more(LEAK) == [LEAK.id]
    assert more(changed(LEAK, mount_id=None)) == [LEAK.id]


def test_a_namespace_without_a_process_is_read_by_its_door(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, door = shows(monkeypatch, TWO), Door("fd", 1)
    assert more(LEAK, found=scanned(namespaces={INODE: Namespace(INODE, (), door=door)})) == [LEAK.id]
    assert reading.doors == [door]


def test_each_namespace_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reading = shows(monkeypatch, TWO)
    assert len(more(*(changed(LEAK, id=f"mw-000000000{at}") for at in range(9)))) == 9
    assert reading.read == [INODE]


def test_what_both_know_is_the_looks_own(monkeypatch: pytest.MonkeyPatch) -> None:
    reading = shows(monkeypatch, TWO)
    assert more(LEAK, found=scanned(changed(LEAK, severity=Severity.INFO))) == []
    assert reading.read == []


def test_what_is_not_confirmed_is_not_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    shows(monkeypatch, TWO)
    assert more(changed(LEAK, confirmed=False)) == []


def test_what_is_pinned_ends_with_its_last_holder() -> None:
    me, ended = Holder(os.getpid(), "me"), Holder(ENDED, "ended")
    pinned = changed(LEAK, kind=Kind.PINNED, namespace=None, seen_at=None)
    assert more(changed(pinned, holders=(ended, me))) == [LEAK.id]
    assert more(changed(pinned, holders=(ended,))) == []


def test_what_is_orphaned_ends_with_its_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    shows(monkeypatch, TWO.replace(b"/ /mnt/e", b"/ /"))
    orphaned = changed(LEAK, kind=Kind.ORPHANED, seen_at=b"/", holders=(Holder(ENDED, "the first"),))
    assert more(orphaned) == [LEAK.id], "others are in it"
    assert more(orphaned, found=scanned(namespaces={INODE: Namespace(INODE, ())})) == []
    assert more(orphaned, found=scanned(home_identities=frozenset({("7:3", b"/x")}))) == [LEAK.id], "not its layer"
    assert more(orphaned, found=scanned(home_identities=frozenset({("7:3", b"/")}))) == []


@pytest.mark.parametrize("kind", [Kind.SEVERED, Kind.PRIVATE_ROOT])
def test_what_hangs_on_propagation_is_the_looks_to_tell_where_it_could(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    shows(monkeypatch, TWO)
    one = changed(LEAK, kind=kind)
    assert more(one) == [], "the mount is there, and umounts reach it by now"
    assert more(one, found=scanned(gaps=[Gap("the mounts of a namespace", "EACCES", INODE)])) == [LEAK.id]
    assert more(one, found=scanned(roots=())) == [LEAK.id], "of a daemon that is stopped"
    (state,) = facts([]).picture.roots
    assert more(one, found=scanned(roots=(replace(state, status="its home could not be read"),))) == [LEAK.id]


def test_only_the_report_of_a_service_that_runs_is_relied_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shows(monkeypatch, TWO)
    path, boot = str(tmp_path / "report.json"), told()["host"]["boot_id"]

    def ids(boot_id: str = boot) -> list[str]:
        return [one["id"] for one in joined.alone(service_report.read(boot_id, path), scanned())]

    assert ids() == [], "there is none"
    report_file.write(told(LEAK), path)
    assert ids() == [LEAK.id]
    assert ids("another boot") == []
    report_file.write(told(LEAK, taken=time.time() - 181), path)
    assert ids() == [], "three resyncs old"
    report_file.write(told(LEAK, agent=(ENDED, 60.0)), path)
    assert ids() == [], "it has ended"


def test_summary_and_status_count_what_is_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    shows(monkeypatch, TWO)
    own = changed(LEAK, id="mw-0000000009", severity=Severity.INFO, kind=Kind.SEVERED)
    service = service_report.ServiceReport(told(changed(LEAK, severity=Severity.CRITICAL), own))
    whole = report.joined(report.build(facts([own])), joined.alone(service, scanned(own)))
    assert [one["id"] for one in whole["findings"]] == [LEAK.id, own.id]
    assert (whole["summary"]["findings"], whole["summary"]["by_kind"]["leaked"]) == (2, 1)
    assert whole["summary"]["by_severity"] == {"info": 1, "warning": 0, "critical": 1}
    assert report.status(whole) == 1


def test_a_process_that_only_waits_for_its_parent_holds_nothing() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    try:
        assert Path(f"/proc/{child}").exists()
        assert not processes.is_alive(child)
    finally:
        os.waitpid(child, 0)


def test_a_process_whose_first_thread_has_ended_may_hold_something() -> None:
    script = (
        "import ctypes, threading, time; threading.Thread(target=time.sleep, args=(60,)).start(); print(flush=True)"
    )
    script += "; ctypes.CDLL(None).pthread_exit(None)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        try:
            wait_until(lambda: b") Z " in Path(f"/proc/{process.pid}/stat").read_bytes(), 10, "its first thread ends")
            assert processes.is_alive(process.pid)
        finally:
            process.kill()
    assert not processes.is_alive(process.pid)
