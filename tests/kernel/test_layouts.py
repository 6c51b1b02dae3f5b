"""No layout is dropped in silence: a copy of any type on a spot of any engine's layout is found, on each tier."""

import os
from collections.abc import Iterator

import pytest
from mountwarden import engines
from mountwarden.config.schema import Config
from mountwarden.kernel import abi, syscalls
from mountwarden.model import Root, Tier
from mountwarden.observe.enter import own_namespace
from mountwarden.observe.tiers import statmount
from mountwarden.observe.tiers.needles import needle
from mountwarden.scan.scanner import Scanner

from tests.support import layouts, tiers
from tests.support.layouts import ANY, SOURCE, Case
from tests.support.ours import only_ours
from tests.support.scratch_ns import Namespace, Sandbox, hold

CASES = list(layouts.cases())
TYPES = sorted({case.fstype for case in CASES})
RARE = ("ext4", "fuse.sshfs")
"""Of these each layout has a test of its own in the long run alone."""
PLANTED = [
    pytest.param(case.fstype, case, id=str(case), marks=pytest.mark.long if case.fstype in RARE else ())
    for case in CASES
]

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces as root"),
    pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="this machine has no /dev/fuse"),
    pytest.mark.timeout(120),
]


def of_type(fstype: str) -> list[Case]:
    return [case for case in CASES if case.fstype == fstype]


def scanner(*roots: Root, tier: Tier) -> Scanner:
    """One that knows these roots alone; in a child of its own."""
    engines.discover = lambda _host, _config: (list(roots), [])
    return Scanner(Config(), home=own_namespace(), tier=tier)


def leaked(of: Scanner) -> set[bytes]:
    return {finding.mountpoint for finding in of.scan().findings if finding.kind == "leaked"}


def plant(fstype: str) -> None:
    """At home, on a spot of each layout."""
    syscalls.mount(None, b"/", None, abi.MS_PRIVATE | abi.MS_REC)
    layouts.mount_source(fstype)
    for case in of_type(fstype):
        layouts.bind(case.spot)


def unmount(fstype: str) -> None:
    for point in (*(case.spot for case in of_type(fstype)), SOURCE):
        syscalls.umount(point, abi.MNT_DETACH)


@pytest.fixture(scope="module")
def planted(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """A home that has unmounted what another namespace still has on a spot of each layout."""
    with Sandbox() as sandbox:
        sandbox.run(plant, request.param, timeout=60)
        with hold(sandbox):
            sandbox.run(unmount, request.param, timeout=60)
            yield sandbox


@pytest.mark.parametrize(("planted", "case"), PLANTED, indirect=["planted"])
def test_a_copy_on_a_spot_is_found(planted: Sandbox, case: Case) -> None:
    """By a first scan, which has not seen home's mount: nothing but its place tells."""

    def found() -> dict[Tier, set[bytes]]:
        only_ours()
        return {tier: leaked(scanner(case.root, tier=tier)) for tier in tiers.available()}

    assert planted.run(found, timeout=60) == {tier: {case.spot} for tier in tiers.available()}


@pytest.mark.parametrize("fstype", TYPES)
def test_a_copy_that_home_was_seen_to_have_is_found(fstype: str) -> None:
    """By scanners that saw it before, as the service has."""
    with Sandbox() as sandbox:
        sandbox.run(plant, fstype, timeout=60)
        with hold(sandbox):
            for tier, found in sandbox.run(_seen_before, fstype, timeout=60).items():
                assert found == {case.spot for case in of_type(fstype)}, tier


def _seen_before(fstype: str) -> dict[Tier, set[bytes]]:
    only_ours()
    roots = [case.root for case in of_type(fstype)]
    watching = {tier: scanner(*roots, tier=tier) for tier in tiers.available()}
    for one in watching.values():
        one.scan()
    unmount(fstype)
    return {tier: leaked(one) for tier, one in watching.items()}


@pytest.mark.parametrize("by", [tier for tier in tiers.available() if tier is not Tier.MOUNTINFO], ids=str)
@pytest.mark.parametrize("fstype", ANY)
def test_a_copy_that_comes_later_is_found_by_what_is_new_in_the_list(fstype: str, by: Tier) -> None:
    """Its namespace was read before, and is caught up by the unique ids of its mounts."""
    unnamed = [case for case in of_type(fstype) if needle(case.layout) is None]
    assert len(unnamed) > 10
    with Sandbox() as sandbox:
        sandbox.run(_prepare, fstype, unnamed)
        with hold(sandbox) as other:
            found, texts = sandbox.run(_later, unnamed, by, other, timeout=60)
    assert found == {case.spot for case in unnamed}
    assert not texts, "the text was read again"


def _prepare(fstype: str, cases: list[Case]) -> None:
    syscalls.mount(None, b"/", None, abi.MS_PRIVATE | abi.MS_REC)
    layouts.mount_source(fstype)
    for case in cases:
        os.makedirs(case.root.path)


def _later(cases: list[Case], tier: Tier, other: Namespace) -> tuple[set[bytes], list[int]]:
    only_ours()
    syscalls.umount(SOURCE, abi.MNT_DETACH)  # the other namespace still has it
    texts: list[int] = []
    watching = scanner(*(case.root for case in cases), tier=tier)
    for name in (b"/mnt/a", b"/mnt/b"):
        watching.scan()
        other.run(_tmpfs, name)
    watching.scan()
    other.run(lambda: [layouts.bind(case.spot) for case in cases])
    read = statmount.filter_lines
    statmount.filter_lines = lambda *given: texts.append(1) or read(*given)
    return leaked(watching), texts


def _tmpfs(path: bytes) -> None:
    os.mkdir(path)
    syscalls.mount(b"tmpfs", path, b"tmpfs", 0, b"size=4k")
