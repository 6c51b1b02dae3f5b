"""The whole examination, and what of it needs root."""

import contextlib
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..config.schema import Config
from ..errors import MountwardenError
from ..escape import sentence
from ..model import Gap, SuperblockTest
from ..observe import namespaces
from ..observe.capabilities import Interface, interfaces
from ..observe.exposed_texts import ExposedTexts
from ..observe.superblocks import Superblocks
from ..predict.next_leaks import NextLeak, predict_leaks, who
from ..scan.result import Scan
from ..scan.scanner import Scanner
from . import canary, engines, kernel, roots, running, system, units
from . import unknown as unknown_engines
from .canary import CanaryResult
from .check import Check, Status
from .running import EngineRunning
from .unknown import UnknownEngine


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found."""

    checks: tuple[Check, ...]
    interfaces: tuple[Interface, ...]
    next_leaks: tuple[NextLeak, ...] = ()
    canary: CanaryResult | None = None
    scan: Scan | None = None
    engines: tuple[EngineRunning, ...] = ()
    unknown: tuple[UnknownEngine, ...] = ()
    superblock_test: tuple[SuperblockTest, str] | None = None
    """What the service asks, or a scan where it does not run, and why."""

    @property
    def worst(self) -> Status:
        """The worst of all lines."""
        ranked = list(Status)
        return max((check.status for check in self.checks), key=ranked.index, default=Status.OK)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the caller gives the examination."""

    directory: bytes
    """Of the configuration."""
    status: Mapping[str, Any] | MountwardenError
    """The service's own status, or why there is none."""
    running: bool
    config: Config = field(default_factory=Config)
    """What to examine the host with."""
    errors: Sequence[MountwardenError] = ()
    """What is wrong with the files of the configuration."""
    unseen: str | None = None
    """Why the host is not seen."""
    canary: bool = True


def examine(asked: Asked, alive: Callable[[], None] = lambda: None) -> Examination:
    """Examine everything. What can't be examined without root is a line that says so.

    `alive` is called for each namespace that is read.
    """
    tried = interfaces()
    found = Examination((), tried) if os.geteuid() else _host(asked, tried, alive)
    result = canary.run() if asked.canary else None
    pid1 = namespaces.of_pid1() if os.geteuid() == 0 else None
    test, of_service = _superblock_test(asked)
    checks = (
        _release(found.scan),
        kernel.superblock_test(*test, service=of_service),
        *kernel.interfaces(tried),
        kernel.may_detach(),
        kernel.selinux(),
        system.version(),
        system.bus(),
        *((system.namespace(pid1, asked.unseen),) if os.geteuid() == 0 else ()),
        system.agent(asked.status, asked.running),
        system.config(asked.directory, asked.errors),
        system.catalog(),
        *found.checks,
        *((canary.check(result),) if result else ()),
        *((_without_root(),) if os.geteuid() else ()),
    )
    return replace(found, checks=checks, canary=result, superblock_test=test)


def _superblock_test(asked: Asked) -> tuple[tuple[SuperblockTest, str], bool]:
    """What is asked and why, and whether that is of the service, whose system calls may be filtered."""
    if asked.running and isinstance(asked.status, Mapping) and "superblock_test" in asked.status:
        return (SuperblockTest(asked.status["superblock_test"]), asked.status["superblock_test_reason"]), True
    with contextlib.closing(Superblocks()) as own:
        return (own.way, own.why), False


def _release(scan: Scan | None) -> Check:
    return kernel.release(platform.release(), scan.tier if scan else None, scan.tier_reason if scan else "")


def _without_root() -> Check:
    text = "engines, roots, namespaces and what will leak next were not examined: that needs root"
    return Check("namespaces.gap", roots.NEXT, Status.WARN, text, "run it as root")


def _host(asked: Asked, tried: tuple[Interface, ...], alive: Callable[[], None]) -> Examination:
    """As root: all roots and all namespaces."""
    texts = ExposedTexts()
    scanner, refused = _scanner(asked.config, texts, alive)
    scan = scanner.scan()
    exposed = texts.found(scan.picture)
    next_leaks, unasked = predict_leaks(exposed, scan.picture)
    full = kernel.mount_max(texts.mounts)
    told, unread = running.running(_processes(scan), scan.picture.roots)
    home = namespaces.of_pid1()
    unknown = unknown_engines.unknown(texts.homes.get(home or 0), scan.picture, home, asked.config)
    checks = (
        *refused,
        *((full,) if full else ()),
        *engines.running(told, unread, asked.config, _user),
        *engines.unknown(unknown),
        *roots.roots(scan.picture, scan.findings),
        roots.reached(exposed),
        *roots.cut_off(next_leaks),
        *(units.checks(private, _running(scan)) if (private := units.private()) and scan.picture.roots else ()),
        *roots.gaps(_once((*scan.gaps, *texts.gaps, *unasked))),
    )
    return Examination(checks, tried, next_leaks, None, scan, told, unknown)


def _user(uid: int) -> str:
    from ..observe import accounts

    return accounts.name(uid)


def _processes(scan: Scan) -> list[int]:
    """All processes that the scan found."""
    return sorted(pid for space in scan.picture.namespaces.values() for pid in space.pids)


def _scanner(
    config: Config, texts: ExposedTexts, alive: Callable[[], None] = lambda: None
) -> tuple[Scanner, tuple[Check, ...]]:
    """With the tier of the configuration; with the best one, and a line that says so, where that does not work."""
    try:
        return Scanner(config, exposed=texts, alive=alive), ()
    except MountwardenError as error:
        text = f"the service can't scan as it is configured: {sentence(error.message)}"
        check = Check("kernel.tier", kernel.GROUP, Status.FAIL, text, "remove `tier` from the configuration")
        return Scanner(replace(config, tier=None), exposed=texts, alive=alive), (check,)


def _running(scan: Scan) -> frozenset[str]:
    """Services with a process in any mount namespace."""
    holders = (holder for inode in scan.picture.namespaces for holder in who(inode, scan.picture).holders)
    return frozenset(holder.unit for holder in holders if holder.unit)


def _once(gaps: tuple[Gap, ...]) -> tuple[Gap, ...]:
    """Several questions may meet the same gap, each in words of its own."""
    return tuple({(gap.what, gap.namespace): gap for gap in gaps}.values())
