"""The tiers agree: on each live mount, and on whole pictures of random topologies, field by field."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from mountwarden.kernel import abi, syscalls
from mountwarden.kernel.probe import probe
from mountwarden.model import Finding, Mount, Stack, Tier
from mountwarden.mounts import mountinfo
from mountwarden.observe import detached_users
from mountwarden.observe.enter import own_namespace
from mountwarden.observe.tiers import listing
from mountwarden.observe.tiers.listing import Lister, NotAsText
from mountwarden.scan.result import Scan
from mountwarden.scan.scanner import Scanner

from tests.kernel.topology import CONFIG, ROOT, Home
from tests.support import tiers
from tests.support.ours import only_ours
from tests.support.scratch_ns import Namespace, Sandbox, hold, overlay

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces as root"),
    pytest.mark.skipif(tiers.available() == [Tier.MOUNTINFO], reason="this kernel has the mountinfo tier alone"),
]

NOATIME, NODIRATIME, STRICTATIME, LAZYTIME, SYNCHRONOUS = 1 << 10, 1 << 11, 1 << 24, 1 << 25, 1 << 4  # sys/mount.h


@pytest.mark.skipif(not probe().fields.available, reason="statmount(2) tells no source before Linux 6.13")
def test_each_live_mount_is_the_same_line_by_both_ways(home: Home) -> None:
    """Odd names and every flag among them."""

    def make() -> None:
        names = (b"a b", b"c\\d", b"e\tf\n", b"g#h", "ü".encode(), b"\xff", b"lazy", b"sync")
        flags = (abi.MS_NOSUID, abi.MS_NODEV, abi.MS_NOEXEC, NOATIME, NODIRATIME, STRICTATIME, LAZYTIME, SYNCHRONOUS)
        for name, flag in zip(names, flags, strict=True):
            os.mkdir(b"/mnt/" + name)
            syscalls.mount(name, b"/mnt/" + name, b"tmpfs", flag, b"size=4k")
        syscalls.mount(None, b"/mnt/a b", None, abi.MS_REMOUNT | abi.MS_BIND | abi.MS_RDONLY)
        syscalls.mount(None, b"/mnt/g#h", None, abi.MS_UNBINDABLE)
        os.mkdir("/mnt/gone")
        os.mkdir("/mnt/bound")
        syscalls.mount(b"/mnt/gone", b"/mnt/bound", None, abi.MS_BIND)
        os.rmdir("/mnt/gone")

    home.layer()
    home.run(make)
    with hold(home.sandbox, propagation="slave") as slave, hold(home.sandbox, userns=True) as locked:
        pairs = [pair for space in (home.sandbox, slave, locked) for pair in _by_both_ways(space)]
    assert len(pairs) > 60
    assert [by_statmount for by_statmount, _ in pairs] == [by_text for _, by_text in pairs]


def _by_both_ways(space: Namespace) -> Iterator[tuple[bytes, bytes]]:
    """Each mount of which statmount(2) tells all, by it and by the text."""
    lister, found = Lister(), listing.identify(space.pid, space.inode)
    assert found is not None
    lines = space.mountinfo().splitlines()
    mounts = [mountinfo.parse_line(line) for line in lines]
    masters = {mount.master: 0 for mount in mounts if not mount.propagate_from}
    masters |= {mount.shared: mount.master for mount in mounts}
    listed = {_small(lister, found.id, unique): unique for unique in memoryview(lister.ids(found.id, 2.0)).cast("Q")}
    # The list has what lies beneath the reader's root too, as an initramfs does that was left by chroot.
    for line, mount in zip(lines, mounts, strict=True):
        with contextlib.suppress(NotAsText):
            yield lister.line(found.id, listed[mount.id], masters).text, line


def _small(lister: Lister, namespace: int, unique: int) -> int:
    return listing.small_id(lister.answer(namespace, unique, abi.StatmountMask.MNT_BASIC))


class Play:
    """A home and three namespaces, changed step by step, and a long-lived Looker for each tier beside them."""

    def __init__(self, home: Home, others: list[Namespace]) -> None:
        self.home, self.others = home, others

    def apply(self, step: tuple[str, int, int]) -> None:
        """What can't be done now (nothing is mounted there) is left out: so it is on every host."""
        what, which, layer = step
        path = b"%b/l%d" % (ROOT, layer)
        place = self.home.sandbox if which == 0 else self.others[which - 1]
        with contextlib.suppress(OSError):
            place.run(lambda: STEPS[what](path))


def _mount(path: bytes) -> None:
    overlay(path)


def _bind(path: bytes) -> None:
    os.makedirs(path + b"/bound", exist_ok=True)
    syscalls.mount(path + b"/merged", path + b"/bound", None, abi.MS_BIND)


def _move(path: bytes) -> None:
    os.makedirs(path + b"/moved", exist_ok=True)
    syscalls.mount(path + b"/merged", path + b"/moved", None, abi.MS_MOVE)


def _inner(path: bytes) -> None:
    """What is mounted below a copy keeps it where it is when home unmounts."""
    os.makedirs(path + b"/merged/inner", exist_ok=True)
    syscalls.mount(b"inner", path + b"/merged/inner", b"tmpfs", 0, b"size=4k")


STEPS: dict[str, Callable[[bytes], None]] = {
    "mount": _mount,
    "umount": lambda path: syscalls.umount(path + b"/merged"),
    "detach": lambda path: syscalls.umount(path + b"/merged", abi.MNT_DETACH),
    "bind": _bind,
    "unbind": lambda path: syscalls.umount(path + b"/bound"),
    "stack": lambda path: syscalls.mount(path + b"/merged", path + b"/merged", None, abi.MS_BIND),
    "cover": lambda path: syscalls.mount(b"cover", path + b"/merged", b"tmpfs", 0, b"size=4k"),
    "inner": _inner,
    "private": lambda path: syscalls.mount(None, b"/mnt", None, abi.MS_PRIVATE),
    "shared": lambda path: syscalls.mount(None, b"/mnt", None, abi.MS_SHARED),
    "slave": lambda path: syscalls.mount(None, b"/mnt", None, abi.MS_SLAVE),
    "readonly": lambda path: syscalls.mount(
        None, path + b"/merged", None, abi.MS_REMOUNT | abi.MS_BIND | abi.MS_RDONLY
    ),
    "move": _move,
}
steps = st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 3), st.integers(0, 2))
plays = st.lists(st.lists(steps, min_size=1, max_size=5), min_size=1, max_size=6)


@contextlib.contextmanager
def _play() -> Iterator[Play]:
    with Sandbox() as sandbox, contextlib.ExitStack() as held:
        home = Home(sandbox)
        home.shared()
        for number in range(3):
            home.run(lambda path=b"%b/l%d" % (ROOT, number): overlay(path))
        slave = held.enter_context(hold(sandbox, propagation="slave"))
        private = held.enter_context(hold(sandbox, propagation="private"))
        slave.run(lambda: syscalls.mount(None, b"/mnt", None, abi.MS_SHARED))
        second = held.enter_context(hold(slave, propagation="slave"))
        yield Play(home, [slave, private, second])


Told = tuple[object, ...]


def told(play: Play, played: list[list[tuple[str, int, int]]], *, resync: bool) -> list[dict[Tier, Told]]:
    """What the Looker of each tier sees after each round; that of the text trusts nothing that it saw before."""

    def watched() -> list[dict[Tier, Told]]:
        only_ours()
        detached_users.PERIOD = 0.0  # who holds what is gone is searched for at each look
        scanners = {tier: Scanner(CONFIG, home=own_namespace(), tier=tier) for tier in tiers.available()}
        seen = [{tier: _plain(scanner, scanner.scan(), spaces) for tier, scanner in scanners.items()}]
        for number, round_ in enumerate(played):
            for step in round_:
                if resync or step[:2] != ("readonly", 0):  # of a remount there is no event: a resync sees home's
                    play.apply(step)
            # Home changes, so that each namespace is looked at.
            os.mkdir(b"/mnt/tick%d" % number)
            syscalls.mount(b"tick", b"/mnt/tick%d" % number, b"tmpfs", 0, b"size=4k")
            seen.append(
                {
                    tier: _plain(scanner, scanner.scan(resync=resync or tier is Tier.MOUNTINFO), spaces)
                    for tier, scanner in scanners.items()
                }
            )
        for scanner in scanners.values():
            scanner.close()
        return seen

    spaces = [other.inode for other in play.others]
    return play.home.sandbox.run(watched, timeout=60)


def _plain(scanner: Scanner, scan: Scan, spaces: list[int]) -> Told:
    """All that is told of home and of `spaces`, without unique ids and an order that means nothing."""
    picture = scan.picture
    seen = [scanner._observer.seen(space) for space in spaces]
    assert all(seen)
    return (
        tuple(_bare(state) for state in picture.roots),
        picture.home_identities,
        _sorted(_bare(copy) for copy in picture.copies if copy.namespace in spaces),
        _sorted(_bare(stack) for stack in picture.stacks if stack.namespace in spaces),
        _sorted(_bare(gone) for gone in picture.gone),
        tuple(one.mounts for one in seen if one),
        tuple(sorted(one.reached.ids(identity)) for one in seen if one for identity in sorted(picture.home_identities)),
        _sorted(
            _finding(finding)
            for finding in scan.findings
            if not finding.namespaces or {*spaces} & {*finding.namespaces}
        ),
    )


def _sorted(values: Iterable[object]) -> tuple[object, ...]:
    return tuple(sorted(values, key=repr))


def _bare(value: object) -> object:
    """The value without unique mount ids, however deep in it."""
    if isinstance(value, Mount):
        return replace(value, unique=None)
    if isinstance(value, Stack):
        value = replace(value, bottom=None)
    if isinstance(value, Mapping):
        return {key: _bare(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return tuple(_bare(each) for each in value)
    if is_dataclass(value) and not isinstance(value, type):
        return type(value), tuple(_bare(getattr(value, each.name)) for each in fields(value))
    return value


def _finding(finding: Finding) -> tuple[object, ...]:
    copies = [(copy.namespace, copy.seen_at, copy.mount_id, copy.reach) for copy in finding.copies]
    return *(getattr(finding, name) for name in FINDING), *copies


FINDING = (
    "id",
    "kind",
    "severity",
    "mountpoint",
    "spot",
    "device",
    "evidence",
    "count",
    "spaces",
)


def _same(seen: list[dict[Tier, Told]]) -> None:
    for number, by_tier in enumerate(seen):
        for tier, told_ in by_tier.items():
            for one, wanted in zip(told_, by_tier[Tier.MOUNTINFO], strict=True):
                assert one == wanted, f"{tier} after round {number}"


@settings(max_examples=int(os.environ.get("PLAYS", "5")), deadline=None, phases=(Phase.explicit, Phase.generate))
@given(plays)
def test_the_tiers_see_the_same_in_random_topologies(played: list[list[tuple[str, int, int]]]) -> None:
    """By what changed alone. A mount that is moved shows in no list: it is seen at the next resync, or by an event."""
    still = [[step for step in round_ if step[0] != "move"] for round_ in played]
    with _play() as play:
        _same(told(play, still, resync=False))


@settings(max_examples=int(os.environ.get("PLAYS", "3")), deadline=None, phases=(Phase.explicit, Phase.generate))
@given(plays)
def test_the_tiers_see_the_same_at_a_resync(played: list[list[tuple[str, int, int]]]) -> None:
    with _play() as play:
        _same(told(play, played, resync=True))
