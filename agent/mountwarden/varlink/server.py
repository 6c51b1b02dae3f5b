"""A server of Varlink for a loop that is somebody else's: one descriptor to poll, and one call that waits for nothing.

Whoever may connect may be rude. There is room for some connections; when it is full, the uid that has most of them
loses the one that is idle longest, so that nobody shuts others out. A uid that costs much processor time is left
waiting.
"""

import contextlib
import os
import select
import socket
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from . import wire
from .connection import Call, Connection, Peer
from .interface import SERVICE, Description, InvalidParameter, VarlinkError, read

BACKLOG = 4096
"""Connections that wait to be accepted. Whoever finds it full is refused at once, so it must not be easy to fill."""
_ACCEPTED = 0.001
"""Processor seconds that a connection is taken to cost at least."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a server puts up with. Times are in seconds."""

    connections: int = 16
    queued: int = 1 << 20
    """Bytes that may wait for a peer, beyond one answer of any size."""
    slow: float = 10.0
    """A peer that takes nothing of what waits for so long is dropped."""
    idle: float = 60.0
    """A connection without a call is closed."""
    burst: float = 0.5
    """Processor seconds that a uid other than root may cost at once."""
    share: float = 0.1
    """And of one processor in the long run."""
    rest: float = 0.1
    """How long no connection is accepted after some of a uid that costs too much: too short to fill the backlog."""


@dataclass(frozen=True, slots=True)
class Product:
    """Which service it is, for GetInfo."""

    vendor: str
    product: str
    version: str
    url: str


@dataclass(frozen=True, slots=True)
class Offer:
    """One interface, and what answers its methods; those in `streams` need more."""

    description: Description
    methods: Mapping[str, Callable[[Call], None]]
    streams: frozenset[str] = frozenset()


class VarlinkServer:
    """Interfaces, answered on connections that come by a listening socket or are given."""

    def __init__(self, product: Product, services: Iterable[Offer], own: str, limits: Limits = Limits()) -> None:
        """`own` is the description of org.varlink.service. Opens a descriptor, until `close`."""
        itself = Offer(read(own), {"GetInfo": self._info, "GetInterfaceDescription": self._describe})
        self._services = {service.description.name: service for service in (itself, *services)}
        self._product, self._limits = product, limits
        self._epoll = select.epoll()
        self._listener: socket.socket | None = None
        self._accepts_from = float("-inf")
        self._connections: dict[int, Connection] = {}
        self._polled: dict[int, int] = {}
        """What each descriptor is polled for."""
        self._others: dict[int, Callable[[], object]] = {}
        self._debts: defaultdict[int, float] = defaultdict(float)
        self._paid = time.monotonic()

    def fileno(self) -> int:
        """What to poll for reading; `serve` is due then."""
        return self._epoll.fileno()

    def listen(self, listener: socket.socket) -> None:
        """Accept connections of this socket, which listens; it is closed with the server."""
        listener.setblocking(False)
        self._listener = listener
        self._polled[listener.fileno()] = select.EPOLLIN
        self._epoll.register(listener, select.EPOLLIN)

    def adopt(self, connection: socket.socket, peer: Peer) -> None:
        """Serve a connection that is there already."""
        one = Connection(connection, peer, self._answer, self._limits.queued)
        self._connections[one.fileno()] = one
        self._polled[one.fileno()] = one.interest
        self._epoll.register(one, one.interest)

    def watch(self, fd: int, ready: Callable[[], object]) -> None:
        """Call `ready` when a descriptor can be read or has ended."""
        self._others[fd] = ready
        self._epoll.register(fd, select.EPOLLIN)

    def unwatch(self, fd: int) -> None:
        """Watch it no more."""
        if self._others.pop(fd, None):
            self._epoll.unregister(fd)

    def charge(self, peer: Peer, seconds: float) -> None:
        """What was done for a peer has cost so many processor seconds."""
        if peer.uid:
            self._debts[peer.uid] += seconds

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._connections)

    def serve(self) -> None:
        """Do all that can be done now."""
        self._pay()
        events = dict(self._epoll.poll(0))
        if self._listener and events.pop(self._listener.fileno(), 0):
            self._accept()
        for fd, ready in tuple(self._others.items()):
            if fd in events:
                ready()
        for fd, one in tuple(self._connections.items()):
            self._turn(one, events.get(fd, 0))
        self._drop_late()
        self._poll_anew()

    def at_most(self, seconds: float) -> float:
        """How long to wait until `serve` is due though the descriptor says nothing: `seconds`, or less."""
        now = time.monotonic()
        times = [now + seconds, *(self._late_at(one) for one in self._connections.values())]
        times += [self._pays_at(one) for one in self._connections.values() if one.due or self._owes(one)]
        times += [self._accepts_from] if self._listener and not self._polled[self._listener.fileno()] else []
        return max(0.0, min(times) - now)

    def close(self) -> None:
        """End everything."""
        for one in self._connections.values():
            one.close()
        self.forget()

    def forget(self) -> None:
        """In a forked child: close its copies of all descriptors, which ends nothing."""
        for one in self._connections.values():
            one.forget()
        for closed in (self._listener, self._epoll):
            if closed:
                closed.close()

    # Connections ---------------------------------------------------------------------------------------------------

    def _turn(self, one: Connection, events: int) -> None:
        owes = self._owes(one) and not events & select.EPOLLHUP
        if one.closed or owes or not (events or one.due):
            return
        started = time.process_time()
        one.turn(events)
        self.charge(one.peer, time.process_time() - started)

    def _accept(self) -> None:
        """All who wait: behind one who floods there may be root. A rest follows."""
        assert self._listener
        floods = False
        with contextlib.suppress(OSError):
            for _connection in range(BACKLOG):
                connection, _address = self._listener.accept()
                peer = Peer.of(connection)
                self.charge(peer, _ACCEPTED)
                if self._debts.get(peer.uid, 0.0) > self._limits.burst:
                    floods = True
                    connection.close()
                else:
                    self._make_room(peer)
                    self.adopt(connection, peer)
        if floods:
            self._accepts_from = time.monotonic() + self._limits.rest

    def _make_room(self, peer: Peer) -> None:
        """For one more of this peer."""
        if len(self._connections) < self._limits.connections:
            return
        counts = Counter(one.peer.uid for one in self._connections.values())
        counts[peer.uid] += 1
        most = max(counts, key=lambda uid: (counts[uid], uid != 0))
        theirs = [one for one in self._connections.values() if one.peer.uid == most]
        self._remove(min(theirs, key=lambda one: (one.busy, one.since)))

    def _remove(self, one: Connection) -> None:
        one.close()
        self._epoll.unregister(one)  # by itself that happens only once no forked child has it any more
        del self._connections[one.fileno()], self._polled[one.fileno()]
        one.forget()

    def _drop_late(self) -> None:
        now = time.monotonic()
        for one in tuple(self._connections.values()):
            if self._late_at(one) <= now:
                self._remove(one)

    def _late_at(self, one: Connection) -> float:
        if one.closed:
            return float("-inf")
        if one.queued:
            return one.since + self._limits.slow
        return float("inf") if one.busy else one.since + self._limits.idle

    def _poll_anew(self) -> None:
        wanted = {fd: 0 if self._owes(one) else one.interest for fd, one in self._connections.items()}
        if self._listener:
            accepts = time.monotonic() >= self._accepts_from
            wanted[self._listener.fileno()] = select.EPOLLIN if accepts else 0
        for fd, events in wanted.items():
            if events != self._polled[fd]:
                self._epoll.modify(fd, events)
        self._polled = wanted

    # Processor time ------------------------------------------------------------------------------------------------

    def _pay(self) -> None:
        now = time.monotonic()
        paid, self._paid = (now - self._paid) * self._limits.share, now
        self._debts = defaultdict(float, {uid: debt - paid for uid, debt in self._debts.items() if debt > paid})

    def _owes(self, one: Connection) -> bool:
        return self._debts.get(one.peer.uid, 0.0) > self._limits.burst

    def _pays_at(self, one: Connection) -> float:
        return self._paid + max(0.0, self._debts.get(one.peer.uid, 0.0) - self._limits.burst) / self._limits.share

    # Calls ---------------------------------------------------------------------------------------------------------

    def _answer(self, call: Call, request: wire.Request) -> None:
        try:
            self._find(call, request)(call)
        except VarlinkError as error:
            call.fail(error)

    def _find(self, call: Call, request: wire.Request) -> Callable[[Call], None]:
        """What answers the call, whose parameters are checked. Raises: VarlinkError."""
        interface, _dot, method = request.method.rpartition(".")
        service = self._services.get(interface)
        if service is None:
            raise VarlinkError(f"{SERVICE}.InterfaceNotFound", interface=interface)
        if method not in service.description.methods:
            raise VarlinkError(f"{SERVICE}.MethodNotFound", method=method)
        if method not in service.methods or request.upgrade:
            raise VarlinkError(f"{SERVICE}.MethodNotImplemented", method=method)
        call.parameters = {} if request.parameters is None else request.parameters
        service.description.check(service.description.methods[method][0], call.parameters)
        if method in service.streams and not request.more:
            raise VarlinkError(f"{SERVICE}.ExpectedMore")
        return service.methods[method]

    def _info(self, call: Call) -> None:
        known = {name: getattr(self._product, name) for name in ("vendor", "product", "version", "url")}
        call.reply({**known, "interfaces": sorted(self._services)})

    def _describe(self, call: Call) -> None:
        service = self._services.get(call.parameters["interface"])
        if service is None:
            raise InvalidParameter("interface")
        call.reply({"description": service.description.text})


def bind(path: str, *, mode: int, group: int | None = None) -> socket.socket:
    """A socket that listens at `path`, in place of what a server that is gone has left there.

    Nobody can connect before its mode and group are right: until listen(2) connect(2) is refused. Raises: OSError.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
        os.chown(path, -1, -1 if group is None else group)
        os.chmod(path, mode)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
