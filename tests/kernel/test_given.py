"""Volumes that a container was given on purpose: in use, not leaked; and a copy of the same that it was not given."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from mountwarden.config.schema import Config, RootEntry
from mountwarden.kernel import abi, syscalls
from mountwarden.model import Action, Evidence, Finding, Kind, RootKind, Severity
from mountwarden.observe.enter import own_namespace
from mountwarden.remedies.plan import plan
from mountwarden.scan.scanner import Scanner

from tests.kernel.topology import ROOT, Home
from tests.support.scratch_ns import Namespace, hold

VOLUME = ROOT + b"/v"
DATA = b"/mnt/data"
ID = "ab" * 32
CONFIG = Config(engines=(), roots=(RootEntry(ROOT, RootKind.VOLUME, (b"*",), None),))


@contextlib.contextmanager
def container(home: Home, above: str = "") -> Iterator[Namespace]:
    """A namespace that has the volume at DATA only, whose process is in a container's cgroup, below `above`."""
    home.config = CONFIG

    def make() -> None:
        os.makedirs(VOLUME)
        os.mkdir(DATA)
        syscalls.mount(b"v", VOLUME, b"tmpfs")

    home.run(make)
    group = next((path for path in map(Path, ("/sys/fs/cgroup/unified", "/sys/fs/cgroup")) if _is_v2(path)), None)
    if group is None:
        pytest.skip("no cgroup2 hierarchy here")
    group = group / above / f"docker-{ID}.scope"
    with hold(home.sandbox, propagation="private") as space:

        def bind() -> None:
            syscalls.mount(VOLUME, DATA, None, abi.MS_BIND)
            syscalls.umount(VOLUME)

        space.run(bind)
        group.mkdir(parents=True)
        try:
            (group / "cgroup.procs").write_text(str(space.pid))
            yield space
        finally:
            space.kill()
            group.rmdir()
            if above:
                group.parent.rmdir()


def _is_v2(path: Path) -> bool:
    return (path / "cgroup.procs").exists() and (path / "cgroup.controllers").exists()


def found(home: Home, destination: bytes, source: bytes = VOLUME) -> Finding:
    """What a scanner that saw the volume at home says when it is unmounted there."""

    def watched() -> Finding:
        syscalls.mount(b"run", b"/run", b"tmpfs")
        bundle = f"/run/containerd/io.containerd.runtime.v2.task/moby/{ID}"
        os.makedirs(bundle)
        mounts = [{"destination": os.fsdecode(destination), "source": os.fsdecode(source), "type": "bind"}]
        with open(f"{bundle}/config.json", "w") as file:
            json.dump({"mounts": mounts}, file)
        scanner = Scanner(home.config, home=own_namespace())
        scanner.scan()
        syscalls.umount(VOLUME)
        (leak,) = [one for one in scanner.scan().findings if one.kind is Kind.LEAKED]
        return plan(leak, home.config)

    return home.run(watched)


def test_what_the_container_was_given_is_in_use(home: Home) -> None:
    with container(home) as space:
        finding = found(home, DATA)
        assert (finding.severity, finding.evidence) == (Severity.INFO, Evidence.HISTORY)
        assert finding.detail == f"in use by container {ID[:12]} as /mnt/data"
        assert finding.namespaces == (space.inode,)
        ((action, command),) = [(one.action, one.command) for one in finding.remedies]
        assert (action, command) == (Action.RESTART, f"docker stop {ID[:12]}")
        assert finding.target is None


def test_a_part_of_the_volume_is_too(home: Home) -> None:
    with container(home):
        assert found(home, DATA, VOLUME + b"/../v/").severity is Severity.INFO


@pytest.mark.parametrize(("destination", "source"), [(b"/mnt/other", VOLUME), (DATA, b"/mnt/elsewhere"), (DATA, ROOT)])
def test_a_copy_that_it_was_not_given_is_leaked(home: Home, destination: bytes, source: bytes) -> None:
    with container(home):
        finding = found(home, destination, source)
        assert finding.severity is Severity.WARNING
        assert Action.UNMOUNT in [remedy.action for remedy in finding.remedies]
        assert "in use" not in finding.detail


def test_a_users_container_of_the_same_id_was_not_given_it(home: Home) -> None:
    """Whoever has a systemd of his own may name a control group as he likes: `docker stop` would stop another's."""
    with container(home, "user@1000.service"):
        finding = found(home, DATA)
        assert finding.severity is Severity.WARNING
        assert "in use" not in finding.detail
        assert f"docker stop {ID[:12]}" not in [remedy.command for remedy in finding.remedies]


def test_beside_a_leak_the_given_copy_is_left_alone(home: Home) -> None:
    with container(home) as space, hold(home.sandbox, propagation="private") as other:
        finding = found(home, DATA)
        assert finding.severity is Severity.WARNING
        assert finding.detail == f"in use by container {ID[:12]} as /mnt/data"
        assert finding.namespaces == (other.inode, space.inode)
        assert finding.target is not None
        assert {copy.namespace for copy in finding.target.leaked} == {other.inode}
        commands = [remedy.command for remedy in finding.remedies]
        assert f"docker stop {ID[:12]}" in commands
