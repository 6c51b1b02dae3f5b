"""What a systemd itself holds open for its units: their descriptor stores, and the FIFOs of their sockets.

PID 1's systemd, or that of a user, is asked over its private socket, in a forked child with a deadline. A store's
contents are told from systemd 254 on (DumpUnitFileDescriptorStore of org.freedesktop.systemd1(5)); before that only how
many descriptors there are.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import NoAnswer
from ..kernel import child
from . import units

DEADLINE = 5.0
"""Seconds for the child that asks one systemd."""

_SYSTEMD, _PATH = b"org.freedesktop.systemd1", b"/org/freedesktop/systemd1"
_MANAGER = _SYSTEMD + b".Manager"
_PROPERTIES = b"org.freedesktop.DBus.Properties"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A descriptor in the store of a unit."""

    unit: str
    device: str
    """major:minor"""
    inode: int


@dataclass(frozen=True, slots=True)
class ManagerFiles:
    """What one systemd holds for its units."""

    stored: tuple[StoredFile, ...] = ()
    untold: tuple[str, ...] = ()
    """Units with something in their store, of which this version does not tell what."""
    listened: tuple[tuple[str, bytes], ...] = ()
    """Socket units with the paths of their FIFOs, special files and sockets."""


def is_booted() -> bool:
    """Whether process 1 is a systemd, as sd_booted(3) finds out."""
    return os.path.isdir("/run/systemd/system")


def held(user: int | None = None) -> ManagerFiles:
    """What PID 1, or the systemd of the user with that uid, holds for its units. Raises: NoAnswer, OSError."""
    return child.ask(lambda: _ask(user), deadline=DEADLINE, what="the child that asks systemd")


def _ask(user: int | None) -> ManagerFiles:
    try:
        call = _open(user)
        return _collect(call)
    except ImportError as error:
        raise NoAnswer(f"pystemd can't be imported: {error}") from None
    except Exception as error:  # pystemd makes a class of its own of each D-Bus error
        raise NoAnswer(f"no answer of systemd: {error}") from None


_Call = Callable[..., Any]


def _open(user: int | None) -> _Call:
    """In the child, which becomes the user: a user's systemd lets nobody else in."""
    library = units.library("dbuslib")
    socket = "/run/systemd/private"
    if user is not None:
        os.setgroups(())
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        socket = f"/run/user/{user}/systemd/private"
    bus = library.DBusAddress(b"unix:path=" + socket.encode(), True)
    bus.open()

    def call(path: bytes, interface: bytes, method: bytes, *arguments: bytes) -> Any:
        return bus.call_method(_SYSTEMD, path, interface, method, [(ord("s"), one) for one in arguments]).body

    return call


def _collect(call: _Call) -> ManagerFiles:
    def get(path: bytes, kind: bytes, name: bytes) -> Any:
        return call(path, _PROPERTIES, b"Get", _SYSTEMD + b"." + kind, name)

    stored: list[StoredFile] = []
    untold: list[str] = []
    listened: list[tuple[str, bytes]] = []
    for row in call(_PATH, _MANAGER, b"ListUnits"):
        name, path = row[0], row[6]
        unit = os.fsdecode(name)
        if unit.endswith(".service") and get(path, b"Service", b"NFileDescriptorStore"):
            try:
                stored += _stored(unit, call(_PATH, _MANAGER, b"DumpUnitFileDescriptorStore", name))
            except Exception:  # no such method before 254
                untold.append(unit)
        elif unit.endswith(".socket"):
            listened += _listened(unit, get(path, b"Socket", b"Listen"))
    return ManagerFiles(tuple(stored), tuple(untold), tuple(listened))


def _stored(unit: str, rows: Any) -> Iterator[StoredFile]:
    """Rows of name, mode, major, minor, inode, major and minor of a device node, path, flags."""
    for row in rows:
        yield StoredFile(unit, f"{row[2]}:{row[3]}", int(row[4]))


def _listened(unit: str, rows: Any) -> Iterator[tuple[str, bytes]]:
    for _kind, address in rows:
        if address.startswith(b"/"):
            yield unit, address
