"""What engines' modules read of a daemon that lives in a mount namespace of its own."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from mountwarden import engines
from mountwarden.config.schema import Config
from mountwarden.engines import sources
from mountwarden.errors import NoAnswer
from mountwarden.model import RecordState
from mountwarden.observe.processes import Daemon

from tests.support.scratch_ns import Sandbox
from tests.unit.engines.trees import docker_container, match

INNER = b"/mnt/docker"


@pytest.fixture
def inner() -> Iterator[Sandbox]:
    """A namespace with a data-root that no other shows."""
    with Sandbox() as sandbox:
        sandbox.run(lambda: docker_container(Path(os.fsdecode(INNER)), "c1", "l1", Running=True))
        yield sandbox


def daemon(inner: Sandbox, *argv: bytes) -> Daemon:
    return Daemon(inner.pid, "dockerd", (b"dockerd", *argv), inner.inode, own=False)


class Clock:
    """Time as the tests want it, and how often a namespace was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = time.monotonic()
        self.asked = 0
        real = sources.in_namespace

        def counted(*args: object, **kwargs: object) -> object:
            self.asked += 1
            return real(*args, **kwargs)  # type: ignore[arg-type]

        monkeypatch.setattr(sources, "in_namespace", counted)
        monkeypatch.setattr(sources, "time", SimpleNamespace(monotonic=lambda: self.now))


def test_files_and_paths_are_those_of_the_daemons_namespace(inner: Sandbox) -> None:
    inner.run(lambda: os.symlink("docker", "/mnt/link"))
    inner.run(lambda: Path("/mnt/file").write_text("inner"))
    where, other = sources.Host(), daemon(inner)
    assert where.read(b"/mnt/file", other) == b"inner"
    assert where.read(b"/mnt/file") is None
    assert where.realpath(b"/mnt/link", other) == INNER
    assert where.realpath(b"/mnt/link") is None
    assert where.names(b"/mnt", other) == (b"docker", b"file", b"link")
    with pytest.raises(OSError, match="no regular file"):
        where.read(b"/mnt/docker", other)


def test_a_namespace_is_asked_once_and_again_at_a_resync(inner: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, where, other = Clock(monkeypatch), sources.Host(), daemon(inner)
    for _ in range(3):
        assert where.realpath(INNER, other) == INNER
        clock.now += 3600
    assert clock.asked == 1
    where.resync()
    where.realpath(INNER, other)
    assert clock.asked == 2
    where.update((daemon(inner, b"-D"),))
    where.update((other,))
    where.realpath(INNER, other)
    assert clock.asked == 3


def test_what_is_absent_is_asked_for_ever_more_rarely(inner: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, where, other = Clock(monkeypatch), sources.Host(), daemon(inner)
    for _ in range(601):
        assert where.realpath(b"/mnt/late", other) is None
        clock.now += 0.1
    assert clock.asked == 6  # after 0, 1, 3, 7, 15, 31 s
    inner.run(lambda: os.mkdir("/mnt/late"))
    clock.now += 60
    assert where.realpath(b"/mnt/late", other) == b"/mnt/late"


def test_a_namespace_that_fails_is_not_asked_each_tick(inner: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, where = Clock(monkeypatch), sources.Host()
    moved_on = Daemon(inner.pid, "dockerd", (b"dockerd",), 1, own=False)
    for _ in range(2):
        with pytest.raises(ProcessLookupError):
            where.read(b"/mnt/file", moved_on)
    assert clock.asked == 1
    clock.now += 1
    with pytest.raises(ProcessLookupError):
        where.read(b"/mnt/file", moved_on)
    assert clock.asked == 2


def test_roots_and_records_of_a_dockerd_in_a_namespace_of_its_own(inner: Sandbox) -> None:
    where = sources.Host((daemon(inner, b"--data-root", INNER),))
    (root, *_others), gaps = engines.discover(where, Config(engines=("docker",)))
    assert gaps == []
    assert (root.path, root.home, root.home_pid, root.home_known) == (INNER, inner.inode, inner.pid, True)
    spots = [match(root, rel) for rel in (b"overlay2/l1/merged", b"overlay2/x/merged")]
    assert engines.records(where, spots) == [RecordState.LIVE, RecordState.UNKNOWN]
    inner.run(lambda: docker_container(Path(os.fsdecode(INNER)), "c1", "l1"))
    assert engines.record(where, spots[0]) is RecordState.UNMOUNTED
    inner.kill()
    assert engines.record(where, spots[0]) is RecordState.UNKNOWN


def test_a_daemon_that_cannot_be_asked_is_a_gap_and_hides_no_other(inner: Sandbox) -> None:
    moved_on = Daemon(inner.pid, "dockerd", (b"dockerd", b"-g", INNER), 1, own=False)
    where = sources.Host((moved_on, daemon(inner, b"-g", INNER)))
    (root, *_others), (gap,) = engines.discover(where, Config(engines=("docker",)))
    assert root.home == inner.inode
    assert gap.what == f"roots of dockerd, process {inner.pid}"


def test_what_was_known_stands_while_a_daemon_cannot_be_asked(inner: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def stuck(*args: object, **kwargs: object) -> object:
        raise NoAnswer("the child gave no answer")

    where = sources.Host((daemon(inner, b"-g", INNER),))
    known, _ = engines.discover(where, Config(engines=("docker",)))
    where.resync()
    monkeypatch.setattr(sources, "in_namespace", stuck)
    found, gaps = engines.discover(where, Config(engines=("docker",)))
    assert found == known != []
    assert [gap.reason for gap in gaps] == ["the child gave no answer"]


def test_a_daemon_that_has_ended_has_no_roots_and_is_no_gap(inner: Sandbox) -> None:
    where = sources.Host((daemon(inner, b"-g", INNER),))
    assert len(engines.discover(where, Config(engines=("docker",)))[0]) == 4
    where.resync()
    inner.kill()
    assert engines.discover(where, Config(engines=("docker",))) == ([], [])
