"""A scan at a host on which nothing happened is the last one again, and never when something did."""

import errno
import os
from typing import Any

import pytest
from mountwarden.config.schema import Config
from mountwarden.kernel import abi, syscalls
from mountwarden.model import Tier
from mountwarden.observe import namespaces
from mountwarden.observe.budgets import Budgets
from mountwarden.observe.enter import own_namespace
from mountwarden.observe.superblocks import Superblocks
from mountwarden.scan.elsewhere import Elsewhere
from mountwarden.scan.part import Part
from mountwarden.scan.readings import FoundElsewhere
from mountwarden.scan.result import Scan
from mountwarden.scan.scanner import Scanner

from tests.kernel.topology import ROOT, Home
from tests.support.ours import only_ours
from tests.support.scratch_ns import hold, overlay
from tests.support.tiers import available
from tests.support.wait import wait_until

MERGED = ROOT + b"/X/merged"


def calm(scanner: Scanner) -> Scan:
    """The first scan that is the one before it again."""
    only_ours()
    seen = [scanner.scan()]

    def same() -> bool:
        seen.append(scanner.scan())
        return seen[-1].picture is seen[-2].picture

    wait_until(same, 30, "two scans in a row see the same")
    assert seen[-1].started > seen[-2].started
    return seen[-1]


def test_where_something_leaked_each_scan_asks_again_and_what_is_severed_is_known(home: Home) -> None:
    home.layer()
    with hold(home.sandbox, propagation="private"):
        home.sandbox.run(lambda: _found(home.config))


def _found(config: Config) -> None:
    scanner = Scanner(config, home=own_namespace())
    assert [finding.kind for finding in calm(scanner).findings] == ["severed"]
    syscalls.umount(MERGED)
    first, second = scanner.scan(), scanner.scan()
    assert [[f.kind for f in scan.findings] for scan in (first, second)] == [["leaked"], ["leaked"]]
    assert second.picture is not first.picture


def test_what_is_severed_no_more_is_seen_at_the_next_resync(home: Home) -> None:
    home.layer()
    home.shared()
    with hold(home.sandbox, propagation="private") as cut:

        def watched() -> list[list[str]]:
            scanner = Scanner(home.config, home=own_namespace())
            scans = [scanner.scan()]
            cut.run(lambda: syscalls.umount(MERGED, abi.MNT_DETACH))
            scans += [scanner.scan(resync=full) for full in (False, True)]
            return [[str(finding.kind) for finding in scan.findings] for scan in scans]

        before, *_between, after = home.run(watched)
        assert (before, after) == (["severed"], [])


def test_what_a_scan_that_failed_took_in_is_told_by_the_next_one(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.layer()
    with hold(home.sandbox, propagation="private"):
        home.sandbox.run(lambda: _failing(home.config, monkeypatch))


def _failing(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """No descriptor is left when the scan is all but over."""

    def failing(*_arguments: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    scanner, part = Scanner(config, home=own_namespace()), Part(1.0, again=True)
    calm(scanner)
    with monkeypatch.context() as broken:
        broken.setattr("mountwarden.scan.scanner.attribute_all", failing)
        syscalls.umount(MERGED)
        with pytest.raises(OSError, match="open files"):
            scanner.scan(part)
    assert [finding.kind for finding in scanner.scan(part).findings] == ["leaked"]


def test_a_leak_ends_the_calm(home: Home) -> None:
    home.layer()
    home.shared()
    with hold(home.sandbox, propagation="slave", cwd=MERGED):
        home.sandbox.run(lambda: _pinned(home.config))


def _pinned(config: Config) -> None:
    scanner = Scanner(config, home=own_namespace())
    before = calm(scanner)
    syscalls.umount(MERGED, abi.MNT_DETACH)
    scan = scanner.scan()
    assert scan.picture is not before.picture
    assert [f.kind for f in scan.findings] == ["pinned"]


def test_a_new_namespace_ends_the_calm(home: Home) -> None:
    home.layer()
    home.shared()
    home.sandbox.run(lambda: _joined(home))


def _joined(home: Home) -> None:
    scanner = Scanner(home.config, home=own_namespace())
    before = calm(scanner)
    with hold(propagation="private") as other:
        scan = scanner.scan()
        assert scan.picture is not before.picture
        assert other.inode in scan.picture.namespaces
        assert [f.namespaces for f in scan.findings] == [(other.inode,)]


def test_a_namespace_that_was_scanned_before_it_was_set_up_is_read_again(home: Home) -> None:
    home.layer()
    home.shared()
    home.sandbox.run(lambda: _scanned_amid(home.config))


def _scanned_amid(config: Config) -> None:
    namespaces.SETUP = 3600.0
    scanner = Scanner(config, home=own_namespace())
    calm(scanner)
    with hold(propagation="slave") as other:
        for _ in range(2):
            assert scanner.scan().findings == ()
        other.run(lambda: syscalls.mount(None, b"/", None, abi.MS_REC | abi.MS_PRIVATE))

        assert scanner.scan().findings == (), "no event reports it"
        new = scanner._spaces._new
        new._due = dict.fromkeys(new._due, 0.0)  # the hour is over
        assert [found.namespaces for found in scanner.scan().findings] == [(other.inode,)], "it is read once more"


class Late(Elsewhere):
    """Home mounts a layer after its own table was read, and before the other namespaces are."""

    late = False

    def scan(self, *args: Any, **more: Any) -> FoundElsewhere:
        if self.late:
            overlay(ROOT + b"/late")
        return super().scan(*args, **more)


@pytest.mark.parametrize("used", available())
def test_what_home_mounts_during_a_scan_is_not_suspected(home: Home, used: Tier) -> None:
    """Containers start all the time: the copies that others get at once are no leaks."""
    home.layer()
    home.shared()
    with hold(home.sandbox, propagation="slave") as other:
        home.sandbox.run(lambda: _mounted_meanwhile(home.config, used))
        assert other.is_mounted(ROOT + b"/late/merged")


def _mounted_meanwhile(config: Config, used: Tier) -> None:
    scanner = Scanner(config, home=own_namespace(), tier=used)
    elsewhere = Late(Budgets(deadline=None), lambda: None, Superblocks())
    scanner._elsewhere = elsewhere
    assert scanner.scan().findings == ()
    elsewhere.late = True
    assert scanner.scan(resync=True).findings == ()
    elsewhere.late = False
    assert scanner.scan().findings == ()
