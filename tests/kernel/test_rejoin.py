"""rejoin on real mounts. What is in a unit is so by its cgroup alone: tests/host/test_rejoin.py has systemd's own."""

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from mountwarden.explain import shared_causes
from mountwarden.kernel import abi, syscalls
from mountwarden.ledger import update
from mountwarden.ledger.update import Ledger, Now
from mountwarden.model import Action, Cause, Finding, Outcome
from mountwarden.remedies import apply
from mountwarden.remedies.plan import after
from mountwarden.scan.result import Scan

from tests.kernel import crash
from tests.kernel.topology import CONFIG, ROOT
from tests.support.scratch_ns import Namespace, Sandbox, hold, overlay

pytestmark = pytest.mark.usefixtures("tier")

SLICES = "user.slice/user-1000.slice/user@1000.service/app.slice"
"""A unit of a user's own systemd: PID 1 is not asked for its settings."""


def hierarchy() -> Path:
    """The cgroups that name units: systemd's own hierarchy, else the unified one."""
    text = Path("/proc/self/mountinfo").read_text()
    found = re.search(r"(?m)^\S+ \S+ \S+ / (\S+) .* - cgroup .*name=systemd", text)
    found = found or re.search(r"(?m)^\S+ \S+ \S+ / (\S+) .* - cgroup2 ", text)
    if not found:
        pytest.skip("no cgroups are mounted")
    return Path(found[1])


@contextlib.contextmanager
def in_unit(holder: Namespace, name: str = "leaky.service") -> Iterator[None]:
    """The holder's process in a cgroup of that unit."""
    place = hierarchy() / SLICES / name
    made = [path for path in (place, *place.parents) if not path.exists()]
    place.mkdir(parents=True)
    try:
        (place / "cgroup.procs").write_text(str(holder.pid))
        yield
    finally:
        holder.kill()
        for path in made:
            path.rmdir()


def seen() -> Scan:
    return crash.scanner().scan(resync=True)


def found(kind: str, scan: Scan | None = None) -> list[Finding]:
    return [finding for finding in (scan or seen()).findings if finding.kind == kind]


def rejoin() -> Outcome:
    (finding,) = found("severed")
    return apply.carry_out(finding, crash.scanner(), Action.REJOIN)


def merged(name: bytes) -> bytes:
    return ROOT + b"/" + name + b"/merged"


@pytest.mark.parametrize("shared", ["first", "later"])
def test_a_root_that_is_mounted_on_itself_is_rejoined_with_all_that_shows_it(shared: str) -> None:
    """As dockerd binds its own root. Where that is shared at once, each layer is mounted on both mounts of it."""

    def run(_sandbox: Sandbox) -> int:
        if shared == "later":
            syscalls.mount(None, b"/mnt", None, abi.MS_PRIVATE)
        syscalls.mount(ROOT, ROOT, None, abi.MS_BIND)
        overlay(ROOT + b"/X")
        with hold() as service, in_unit(service):
            if shared == "later":
                syscalls.mount(None, ROOT, None, abi.MS_SHARED)
            outcome = rejoin()
            assert outcome.done, outcome.text
            overlay(ROOT + b"/Y")
            assert service.is_mounted(merged(b"Y")), "a new mount at home appears"
            syscalls.umount(merged(b"X"))
            syscalls.umount(merged(b"Y"))
            assert not service.is_mounted(merged(b"X")), "an umount at home reaches it"
            assert seen().findings == ()
            return outcome.did.count("a slave of")

    assert crash.in_few_processes(run, 20) == (2 if shared == "first" else 1)


def test_a_mount_that_can_t_be_rejoined_is_named_and_the_next_remedy_with_it() -> None:
    """The service shows the layer on a mount that shows more of the file system than home's does."""

    def run(_sandbox: Sandbox) -> tuple[str, str, str | None]:
        os.mkdir(b"/mnt/aside")
        syscalls.mount(None, b"/mnt", None, abi.MS_PRIVATE)
        syscalls.mount(ROOT, ROOT, None, abi.MS_BIND)
        overlay(ROOT + b"/X")

        def move() -> None:
            syscalls.mount(merged(b"X"), b"/mnt/aside", None, abi.MS_BIND)
            syscalls.umount(merged(b"X"))
            syscalls.umount(ROOT)
            syscalls.mount(b"/mnt/aside", merged(b"X"), None, abi.MS_MOVE)

        with hold() as service, in_unit(service):
            service.run(move)
            syscalls.mount(None, ROOT, None, abi.MS_SHARED)
            outcome = rejoin()
            remedy = after(outcome.finding, Action.REJOIN, CONFIG)
            return outcome.code, outcome.text, remedy and remedy.reason

    code, text, following = crash.in_few_processes(run, 20)
    assert (code, text) == (
        "narrow",
        "declined: its mount at /mnt shows more of the file system than the host's at /mnt/root",
    )
    assert (
        following
        == "restarting leaky.service of user 1000 gives it a new namespace, which umounts on the host reach again"
    )


def test_the_cause_that_was_known_is_known_after_a_rejoin() -> None:
    """It is of the copies that were left before, which a rejoin does not remove; then nothing shows it any more."""

    def run(_sandbox: Sandbox) -> list[Cause | None]:
        for name in (b"X", b"Y", b"Z"):
            overlay(ROOT + b"/" + name)
        with hold() as service, in_unit(service):
            for name in (b"X", b"Z"):
                syscalls.umount(merged(name))
            scan = seen()
            told, later = sorted(found("leaked", scan), key=lambda finding: finding.mountpoint)
            (first,), _gaps = shared_causes.with_causes((told,), scan.picture)
            ledger = Ledger("boot")
            for at in (0.0, 1.0, 2.0):
                ledger, _ = update.update(ledger, (first,), Now(at, at), CONFIG, namespaces=scan.picture.namespaces)
            assert rejoin().done
            scan = seen()
            findings, _gaps = shared_causes.with_causes(found("leaked", scan), scan.picture)
            assert len(findings) == 2
            assert [finding.cause.is_known for finding in findings if finding.cause] == [False, False]
            ledger, _ = update.update(ledger, findings, Now(3.0, 3.0), CONFIG, namespaces=scan.picture.namespaces)
            subjects = {key: entry.subject.cause for key, entry in ledger.entries.items()}
            unexplained = [replace(finding, cause=None) for finding in findings]
            annotated = update.annotate(ledger, unexplained, Now(3.0, 3.0), CONFIG)
            ended, _ = update.update(ledger, (), Now(4.0, 4.0), CONFIG, namespaces=())
            assert ended.causes == ()
            return [first.cause, subjects[told.id], subjects[later.id], *(finding.cause for finding in annotated)]

    before, *afterwards = crash.in_few_processes(run, 20)
    assert before is not None
    assert before.code == "own-namespace"
    assert afterwards == [before] * 4
