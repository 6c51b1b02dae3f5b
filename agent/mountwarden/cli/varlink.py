"""mountwarden varlink: the service's Varlink interface on standard input and output, for ssh and varlinkctl."""

import contextlib
import os
import select
import socket
import sys
from argparse import Namespace
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import MountwardenError
from ..escape import printable
from ..state.run_directory import READERS, RunDirectory
from . import options

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from ..varlink.connection import Call
    from ..varlink.interface import VarlinkError
    from ..varlink.server import VarlinkServer

_EPILOG = """\
The service answers as whom runs this. Where it does not run, each call is answered by an error that says so.

examples:
  varlinkctl call ssh-exec:node7:"mountwarden varlink" io.mountwarden.Report {}
  varlinkctl info exec:"mountwarden varlink"
"""
_LISTEN_FD = 3  # SD_LISTEN_FDS_START of sd_listen_fds(3)
_BUFFER = 1 << 18


def register(subparsers: "_SubParsersAction[options.Parser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "varlink",
        help="the service's Varlink interface on standard input and output",
        description="Connects its standard input and output with the service's socket; or, as varlinkctl exec: does,\n"
        "a connected socket that it is started with.",
        epilog=_EPILOG,
        json=False,
        tier=False,
    )
    parser.set_defaults(run=run)


def run(arguments: Namespace) -> int:
    """Pass on until the service, or who started us, ends the connection. Raises: MountwardenError; OSError."""
    source, sink = _given()
    with contextlib.ExitStack() as held:
        theirs, stand_in = _service(os.fspath(RunDirectory().socket))
        held.callback(theirs.close)
        if stand_in:
            held.callback(stand_in.close)
        _relay(source, sink, theirs, stand_in)
    return 0


def _given() -> tuple[int, int]:
    """Where calls come from and answers go to. Raises: MountwardenError for a socket that only listens."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
        if sys.stdin.isatty():
            raise MountwardenError("varlink speaks to programs", hint='varlinkctl info exec:"mountwarden varlink"')
        return sys.stdin.fileno(), sys.stdout.fileno()
    with socket.socket(fileno=os.dup(_LISTEN_FD)) as given:
        if given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise MountwardenError("varlink takes a connected socket", hint="in a socket unit, set Accept=yes")
    return _LISTEN_FD, _LISTEN_FD


def _service(path: str) -> "tuple[socket.socket, VarlinkServer | None]":
    """A connection to the service; where there is none, to a server of our own, which says so."""
    from ..varlink.client import Client, Unreachable

    try:
        with Client.connect(path) as client:
            return socket.socket(fileno=os.dup(client.fileno())), None
    except Unreachable as error:
        ours, theirs = socket.socketpair()
        return theirs, _stand_in(ours, error)


def _stand_in(connection: socket.socket, error: Exception) -> "VarlinkServer":
    from ..service.answers import interfaces
    from ..varlink import interface
    from ..varlink.client import Trouble, Unreachable
    from ..varlink.connection import Peer

    host = printable(os.uname().nodename)
    answer: VarlinkError = interfaces.NotRunning(
        f"mountwarden.service does not run on {host}: systemctl start mountwarden"
    )
    trouble = error.trouble if isinstance(error, Unreachable) else None
    if trouble is Trouble.DENIED:
        answer = interfaces.NotAllowed(f"only root and the group {READERS} may call mountwarden.service on {host}")
    elif trouble is Trouble.LATE:
        answer = interfaces.NotRunning(f"mountwarden.service on {host} gives no answer: systemctl status mountwarden")

    def refuse(call: "Call") -> None:
        raise answer

    names = (interfaces.OWN, interfaces.METRICS)
    methods = {name: dict.fromkeys(interface.read(interfaces.text(name)).methods, refuse) for name in names}
    server = interfaces.server(methods)
    server.adopt(connection, Peer.ourselves())
    return server


@dataclass
class _Way:
    """One direction. What is read waits here until it can be written."""

    source: int
    sink: int
    data: bytes = b""
    ended: bool = False

    def wanted(self, poll: dict[int, int]) -> None:
        """What this direction waits for, by descriptor; that its sink takes no more is reported in any case."""
        poll.setdefault(self.sink, 0)
        if not self.ended and len(self.data) < _BUFFER:
            poll[self.source] = poll.get(self.source, 0) | select.POLLIN
        if self.data:
            poll[self.sink] = poll.get(self.sink, 0) | select.POLLOUT

    def turn(self) -> None:
        """Read and write what can be. Raises: OSError where the sink takes no more."""
        with contextlib.suppress(BlockingIOError):
            if not self.ended and len(self.data) < _BUFFER:
                try:
                    part = os.read(self.source, _BUFFER)
                except ConnectionResetError:
                    part = b""
                self.data, self.ended = self.data + part, not part
        with contextlib.suppress(BlockingIOError):
            if self.data:
                self.data = self.data[os.write(self.sink, self.data) :]


def _relay(source: int, sink: int, service: socket.socket, stand_in: "VarlinkServer | None") -> None:
    """Both directions, until all answers are passed on."""
    there, back = _Way(source, service.fileno()), _Way(service.fileno(), sink)
    for fd in {source, sink, service.fileno()}:
        os.set_blocking(fd, False)
    shut = False
    while not (back.ended and not back.data):
        wanted: dict[int, int] = {stand_in.fileno(): select.POLLIN} if stand_in else {}
        there.wanted(wanted)
        back.wanted(wanted)
        events = _wait(wanted, stand_in)
        if events.get(sink, 0) & (select.POLLERR | select.POLLHUP):
            return  # nobody is there to be answered
        if stand_in:
            stand_in.serve()
        try:
            there.turn()
            back.turn()
        except (BrokenPipeError, ConnectionResetError):
            return
        if there.ended and not there.data and not shut:
            shut = True
            with contextlib.suppress(OSError):
                service.shutdown(socket.SHUT_WR)


def _wait(wanted: dict[int, int], stand_in: "VarlinkServer | None") -> dict[int, int]:
    poll = select.poll()
    for fd, events in wanted.items():
        poll.register(fd, events)
    return dict(poll.poll(stand_in.at_most(60.0) * 1000 if stand_in else None))
