"""What home itself has mounted and nobody owns, by real mounts on each tier: found, asked for again, unmounted."""

import os
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from mountwarden.config.schema import Config, Confirm
from mountwarden.kernel import abi, syscalls
from mountwarden.model import Action, Finding, Outcome, Tier
from mountwarden.observe import budgets
from mountwarden.observe.enter import own_namespace
from mountwarden.remedies import apply
from mountwarden.scan.part import Part
from mountwarden.scan.scanner import Scanner

from tests.kernel import crash
from tests.kernel.topology import CONFIG, ROOT, Home
from tests.support import tenants
from tests.support.left_behind import ASKED, DOWN, let_go, owned
from tests.support.left_behind import engine as engine
from tests.support.scratch_ns import Sandbox, hold, overlay

pytestmark = pytest.mark.usefixtures("engine")
MERGED = ROOT + b"/X/merged"
LATER = Part(1.0, again=False)
"""A scan of the service for which nobody waits."""


def looker(config: Config = CONFIG) -> Scanner:
    return Scanner(config, home=own_namespace())


def told(scanner: Scanner, part: Part | None = None, *, resync: bool = False) -> list[Finding]:
    return [one for one in scanner.scan(part, resync=resync).findings if one.kind == "abandoned"]


def touch(path: bytes) -> None:
    with open(path, "wb"):
        pass


def test_what_nobody_owns_is_found_and_what_has_an_owner_is_not(home: Home) -> None:
    home.layer()
    home.layer(b"Y")
    home.run(lambda: owned(ROOT + b"/Y/merged"))
    (found,) = home.run(lambda: told(looker()))
    assert (found.mountpoint, found.layer, found.severity) == (MERGED, b"X", "warning")
    assert (found.namespaces, found.home, found.first.seen_at) == ((home.sandbox.inode,), home.sandbox.inode, MERGED)
    assert (found.left, found.frees, found.asked) == ("task", "layer X", True)
    assert found.detail == "its owner is gone: the engine runs, and knows nothing of X"
    assert not found.holders, "nobody holds it: home itself has it"


def test_what_another_mount_covers_is_not_told(home: Home) -> None:
    home.layer()
    home.run(lambda: syscalls.mount(b"over", MERGED, b"overlay", 0, b"lowerdir=%b/X/upper:%b/X/lower" % (ROOT, ROOT)))
    assert home.run(lambda: told(looker())) == []
    home.umount(MERGED)
    assert len(home.run(lambda: told(looker()))) == 1


def test_an_engine_that_is_down_proves_nothing(home: Home) -> None:
    home.layer()
    home.run(lambda: touch(ROOT + b"/" + DOWN))
    assert home.run(lambda: told(looker())) == []


def test_what_a_process_has_as_its_root_is_in_use(home: Home) -> None:
    home.layer()
    with hold(home.sandbox, propagation=None, chroot=MERGED) as inside:
        assert home.run(lambda: told(looker())) == []
        inside.kill()
    assert len(home.run(lambda: told(looker()))) == 1


def test_what_a_namespace_has_as_its_own_root_is_in_use(home: Home) -> None:
    home.layer()
    with hold(home.sandbox, propagation="private") as container:
        container.run(lambda: pivot(MERGED))
        assert home.run(lambda: told(looker())) == []


def pivot(root: bytes) -> None:
    """Make it the namespace's own root; the sleeping process goes along, since it was in the old one's root."""
    os.chdir(root)
    syscalls.pivot_root(b".", b".")


def test_what_is_in_use_is_asked_for_at_a_resync_alone(home: Home) -> None:
    home.layer()
    home.run(lambda: owned(MERGED))

    def scans() -> list[list[int]]:
        scanner = looker()
        return [asked(scanner, resync=full) for full in (False, False, True, False)]

    assert home.run(scans) == [[1], [], [1], []], "and by the first scan"


def asked(scanner: Scanner, *, resync: bool) -> list[int]:
    """How many mounts a scan asks for."""
    ASKED.clear()
    told(scanner, LATER, resync=resync)
    return list(ASKED)


def test_what_has_no_owner_stands_for_a_while_and_is_never_told_by_that(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.layer()

    def scans() -> list[tuple[list[int], list[bool]]]:
        scanner = looker()
        found = list[tuple[list[int], list[bool]]]()
        for part, stands in ((LATER, 30.0), (LATER, 30.0), (Part(1.0, again=True), 30.0), (LATER, 0.0), (None, 30.0)):
            monkeypatch.setattr("mountwarden.scan.standing.STANDS", stands)
            touch(ROOT + b"/%d" % len(found))
            overlay(ROOT + b"/new%d" % len(found))
            owned(ROOT + b"/new%d/merged" % len(found))
            ASKED.clear()
            findings = told(scanner, part)
            found.append((list(ASKED), [one.asked for one in findings]))
        return found

    first, *others = home.run(scans)
    assert first[1] == [True]
    assert others == [([], [False]), ([1], [True]), ([1], [True]), ([1], [True])]


def test_around_its_confirm_time_it_is_asked_for_by_each_scan(home: Home) -> None:
    home.layer()
    config = Config(engines=(), roots=CONFIG.roots, confirm=Confirm(abandoned=0.5))

    def scans() -> list[bool]:
        scanner = looker(config)
        told(scanner, LATER)
        overlay(ROOT + b"/new")
        owned(ROOT + b"/new/merged")
        return [one.asked for one in told(scanner, LATER)]

    assert home.run(scans) == [True]


def test_another_answer_ends_it_and_so_does_another_mount(home: Home) -> None:
    home.layer()

    def scans() -> list[int]:
        scanner = looker()
        found = [len(told(scanner))]
        owned(MERGED)
        found.append(len(told(scanner)))
        let_go(MERGED)
        found += [len(told(scanner)), len(told(scanner, resync=True))]
        syscalls.umount(MERGED)
        found.append(len(told(scanner)))
        return found

    assert home.run(scans) == [1, 0, 0, 1, 0], "what has an owner is asked for at the next resync"


def act(before: Callable[[], None] = lambda: None, *, lazy: bool = False) -> Outcome:
    """Unmount the one finding, after something else."""
    scanner = looker()
    (found,) = told(scanner)
    before()
    return apply.carry_out(found, scanner, Action.UNMOUNT, lazy=lazy)


def test_it_is_unmounted_at_home(home: Home) -> None:
    home.layer()
    outcome = home.run(act)
    assert outcome.done, outcome
    assert outcome.text == "unmounted: it is gone on the host; that frees layer X"
    assert outcome.did == "/mnt/root/X/merged: unmounted"
    assert "its owner is gone: the engine runs" in outcome.saw
    assert not home.sandbox.is_mounted(MERGED)


def test_copies_that_the_umount_reaches_go_too(home: Home) -> None:
    home.layer()
    with hold(home.sandbox, propagation="slave") as reached, hold(home.sandbox, propagation="private") as cut:
        outcome = home.run(act)
        assert outcome.done, outcome
        assert outcome.text.endswith("; 1 copy left in other mount namespaces")
        assert [space.is_mounted(MERGED) for space in (home.sandbox, reached, cut)] == [False, False, True]


def declined(home: Home, code: str, words: str, before: Callable[[], None], **other: bool) -> None:
    """It stays, and the refusal says why."""
    outcome = home.run(lambda: act(before, **other))
    assert (outcome.done, outcome.code) == (False, code), outcome
    assert words in outcome.text
    assert home.sandbox.is_mounted(MERGED)


def test_it_is_declined_where_its_owner_is_back(home: Home) -> None:
    home.layer()
    declined(home, "gone", "not there any more", lambda: owned(MERGED))


def test_it_is_declined_where_its_engine_says_nothing_any_more(home: Home) -> None:
    home.layer()
    declined(home, "gone", "not there any more", lambda: touch(ROOT + b"/" + DOWN))


def test_it_is_declined_where_something_is_mounted_on_it(home: Home) -> None:
    home.layer()

    def mounted() -> None:
        os.mkdir(MERGED + b"/in")
        syscalls.mount(b"tmpfs", MERGED + b"/in", b"tmpfs")

    declined(home, "mounted-on", "/mnt/root/X/merged/in in namespace", mounted)


def test_it_is_declined_where_a_process_uses_it_which_is_named(home: Home) -> None:
    home.layer()
    with hold(home.sandbox, propagation=None, cwd=MERGED) as user:
        declined(home, "busy", f"it is in use by process {user.pid} (", lambda: None)


def test_it_is_declined_where_another_mount_would_go_with_it(home: Home) -> None:
    home.layer()
    with hold(home.sandbox, propagation="slave") as other:

        def replaced() -> None:
            other.run(syscalls.umount, MERGED)
            other.run(syscalls.mount, b"other", MERGED, b"tmpfs")

        declined(home, "spreads", "would take /mnt/root/X/merged in namespace", replaced)
        assert other.is_mounted(MERGED)


def test_it_is_declined_where_it_is_another_mount_by_now(home: Home) -> None:
    home.layer()

    def again() -> None:
        syscalls.umount(MERGED)
        overlay(ROOT + b"/X", upper=b"other")

    declined(home, "changed", "another mount is on that spot", again)


def test_it_is_never_unmounted_lazily(home: Home) -> None:
    home.layer()
    declined(home, "not-applicable", "never unmounted lazily", lambda: None, lazy=True)


def test_a_dry_run_says_what_is_predicted(home: Home) -> None:
    home.layer()
    with hold(home.sandbox, propagation="slave"), hold(home.sandbox, propagation="private"):

        def said() -> tuple[list[str], list[str]]:
            scanner = looker()
            (found,) = told(scanner)
            steps = apply.describe(found, Action.UNMOUNT)
            return steps, apply.unread_steps([found], scanner.scan())[found.id, Action.UNMOUNT]

        steps, predicted = home.run(said)
    assert f"never lazily: umount {MERGED.decode()}" in steps[2]
    assert steps[3] == "check again: gone; that frees layer X"
    assert predicted == [
        "predicted: it goes from 1 other mount namespace too; 1 copy elsewhere would stay, out of reach of that umount"
    ]


def end_all(number: int, before: Callable[[], None] = lambda: None) -> list[Outcome]:
    """Make so many, and end them in one go."""
    for each in range(number):
        overlay(ROOT + b"/%d" % each)
    scanner = looker()
    findings = told(scanner)
    assert len(findings) == number
    before()
    return list(apply.carry_out_all(findings, scanner, Action.UNMOUNT))


def test_many_go_in_batches_and_one_that_is_declined_keeps_none_back(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mountwarden.remedies.left_behind.MOST", 3)
    outcomes = home.run(lambda: end_all(8, lambda: owned(ROOT + b"/4/merged")))
    assert sorted(one.code for one in outcomes) == ["done"] * 7 + ["gone"]
    left = [number for number in range(8) if home.sandbox.is_mounted(ROOT + b"/%d/merged" % number)]
    assert left == [4]


def test_a_batch_whose_time_is_up_goes_on_in_the_next_one(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mountwarden.remedies.left_behind.SECONDS", 0.0)
    assert [one.code for one in home.run(lambda: end_all(4))] == ["done"] * 4


def test_a_batch_of_which_all_is_declined_is_no_check_of_the_next_one(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mountwarden.remedies.left_behind.MOST", 2)

    def back_meanwhile() -> list[Outcome]:
        for number in range(4):
            overlay(ROOT + b"/%d" % number)
        scanner = looker()
        findings = sorted(told(scanner), key=lambda one: one.mountpoint)
        for one in findings[:2]:
            owned(one.mountpoint)
        outcomes = apply.carry_out_all(findings, scanner, Action.UNMOUNT)
        first = [next(outcomes), next(outcomes)]
        for one in findings[2:]:
            owned(one.mountpoint)
        return [*first, *outcomes]

    assert [one.code for one in home.run(back_meanwhile)] == ["gone"] * 4
    assert all(home.sandbox.is_mounted(ROOT + b"/%d/merged" % number) for number in range(4))


@pytest.mark.long
@pytest.mark.timeout(300)
def test_two_thousand_are_ended_within_half_a_minute(home: Home) -> None:
    with hold(home.sandbox, propagation="slave") as reached:

        def timed() -> tuple[float, int]:
            began = list[float]()
            outcomes = end_all(2000, lambda: began.append(time.monotonic()))
            return time.monotonic() - began[0], sum(one.done for one in outcomes)

        took, done = home.sandbox.run(timed, timeout=250)
        assert done == 2000
        assert b"/merged" not in reached.mountinfo(), "none is left elsewhere"
    assert took < 30


def test_a_namespace_that_cannot_be_read_keeps_it_back_until_an_operator_says_otherwise(
    tier: Tier, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOSTS_OWN", "OTHERS"):
        monkeypatch.setattr(budgets, name, replace(getattr(budgets, name), seconds=0.1))

    def run(sandbox: Sandbox) -> None:
        overlay(ROOT + b"/X")
        syscalls.mount(None, b"/mnt", None, abi.MS_SHARED)
        with tenants.tenant(lambda: tenants.stacked(14)) as space:
            scanner = Scanner(crash.CONFIG, home=own_namespace(), tier=tier)
            (found,) = told(scanner)
            (line,) = apply.unread_steps([found], scanner.scan())[found.id, Action.UNMOUNT]
            assert line.startswith(f"predicted: declined, mount namespace {space.inode} of process {space.pid} (")
            outcome = apply.carry_out(found, scanner, Action.UNMOUNT)
            assert (outcome.code, outcome.unread) == ("unread", (space.inode,)), outcome
            also = frozenset({space.inode})
            assert apply.carry_out(found, scanner, Action.UNMOUNT, also_unread=also).done

    crash.in_few_processes(run, 60)
