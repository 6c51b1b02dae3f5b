"""What a running dockerd answers on its own socket: for a child with a deadline, in dockerd's mount namespace.

Docker's Engine API: `GET /containers/json?all=1` lists every container, also one that is being removed (moby,
api/server/router/container/container_routes.go, since 29 below daemon/server, getContainersJSON). To HTTP/1.0 Go's
server answers with the whole body and closes.
"""

import json
from collections.abc import Sequence

from ..observe.unix_sockets import SECONDS, connected

_REQUEST = b"GET /containers/json?all=1 HTTP/1.0\r\nHost: docker\r\n\r\n"
_PART = 1 << 16
_LIMIT = 64 << 20
_NOT_ITS_API = (b"/metrics.sock", b"/libnetwork/", b"/plugins/")


def containers(sockets: Sequence[bytes], pid: int) -> frozenset[bytes]:
    """The ids of all containers, of the first of the sockets of a dockerd, process `pid`, that answers so.

    Raises: OSError where none does; ValueError of an answer of another form.
    """
    for path in sockets:
        if any(other in path for other in _NOT_ITS_API):
            continue
        try:
            status, body = _answer(path, pid)
        except OSError:
            continue
        if status == 200:
            return frozenset(str(one["Id"]).encode() for one in json.loads(body))
    raise ConnectionError("dockerd answers on no socket")


def _answer(path: bytes, pid: int) -> tuple[int, bytes]:
    """(status, body)."""
    with connected(path, pid) as peer:
        peer.settimeout(SECONDS)  # a list of thousands takes its time
        peer.sendall(_REQUEST)
        parts = [part := peer.recv(_PART)]
        while part and sum(map(len, parts)) < _LIMIT:
            parts.append(part := peer.recv(_PART))
    head, _, body = b"".join(parts).partition(b"\r\n\r\n")
    status = head.split(maxsplit=2)[1:2]
    return (int(status[0]) if status and head.startswith(b"HTTP/1.") else 0), body
