"""The service's socket with the loop's part played by the test: its clients, and who answers them."""

import contextlib
import io
import json
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from mountwarden.kernel import child
from mountwarden.ledger.update import Ledger
from mountwarden.model import Action, Finding, Outcome, Picture, Tier
from mountwarden.scan.result import Scan
from mountwarden.service.answers.watchers import Watchers
from mountwarden.service.clients import Clients
from mountwarden.service.outbox import Outbox
from mountwarden.service.publish import Publisher
from mountwarden.service.reporter import Reporter
from mountwarden.service.results import Results
from mountwarden.state.run_directory import RunDirectory
from mountwarden.systemd.journal import Entry, Journal
from mountwarden.varlink import wire

from tests.support.findings import CONFIG, finding
from tests.support.wait import wait_until

OWN = "io.mountwarden"


class Noted(Journal):
    def __init__(self) -> None:
        super().__init__(stderr=io.StringIO())
        self.entries: list[dict[str, str]] = []

    def send(self, entry: Entry) -> bool:
        self.entries.append(dict(entry))
        return True


class Stub:
    """systemd and the triggers, of which a publisher says something."""

    has_inotify = has_unit_signals = True


@dataclass
class Scene:
    """The clients of a service, whose scans and acts are the test's."""

    path: Path
    journal: Noted = field(default_factory=Noted)
    lazy: list[bool] = field(default_factory=list)
    also_unread: list[frozenset[int]] = field(default_factory=list)
    acted: list[tuple[list[str], Action, str | None]] = field(default_factory=list)
    error: Exception | None = None
    in_one_batch: bool = False
    peers: list[socket.socket] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.run = RunDirectory(self.path / "run")
        self.run.path.mkdir()
        heard = Watchers()
        self.reporter = Reporter(
            Outbox(self.run, self.journal, heard.hear), lambda found, _picture: (tuple(found), ()), "b"
        )
        self.publisher = Publisher(self.run, Stub(), Stub())  # type: ignore[arg-type]
        self.clients = Clients(self.run, self.carry_out, heard, registry=self.path / "varlink/registry")
        self.polled = self.clients.open(self.publisher, self.reporter)

    def carry_out(
        self,
        findings: Sequence[Finding],
        action: Action,
        go_on: Callable[[], bool],
        unit: str | None,
        lazy: bool,
        also_unread: frozenset[int],
    ) -> Iterable[Outcome]:
        self.acted.append(([one.id for one in findings], action, unit))
        self.lazy.append(lazy)
        self.also_unread.append(also_unread)
        if self.error:
            raise self.error
        for one in findings:
            if (self.in_one_batch and one is not findings[0]) or go_on():
                again = replace(one, confirmed=False)  # as the scan right before the act has it
                yield Outcome(again, action, True, "done", "text", "saw", "did", "verified")

    def scanned(self, *findings: Finding, taken: float = 1e9) -> bool:
        picture = Picture("boot", Tier.MOUNTINFO, (), {}, (), 0)
        scan = Scan(picture, findings, (), taken, 0.001, Tier.MOUNTINFO, "why")
        done = self.clients.scanned(Results(scan, findings, CONFIG, Ledger("b"), None, None, 0.0, ()))
        self.clients.serve()
        return done

    def call(self, method: str, parameters: dict[str, object] | None = None, *, more: bool = False) -> socket.socket:
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(str(self.run.socket))
        peer.sendall(wire.call(method if "." in method[3:] else f"{OWN}.{method}", parameters, more=more))
        self.peers.append(peer)
        for _turn in range(3):
            self.clients.serve()
        return peer

    def replies(self, peer: socket.socket) -> list[dict[str, Any]]:
        """What came by now."""
        self.clients.serve()
        peer.setblocking(False)
        data = b""
        with contextlib.suppress(BlockingIOError):
            while part := peer.recv(1 << 20):
                data += part
        return [json.loads(one) for one in data.split(b"\0") if one]

    def awaited(self, peer: socket.socket) -> list[dict[str, Any]]:
        """What came, once something did, from a child."""
        return wait_until(lambda: self.replies(peer), 10, "a reply")


CONFIRMED = replace(finding(1), confirmed=True, since=1e9)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    one = Scene(tmp_path)
    yield one
    one.clients.close()
    for peer in one.peers:
        peer.close()
    wait_until(lambda: child.reap_late() == 0, 5, "the children are gone")
