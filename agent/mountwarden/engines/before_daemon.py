"""Mounts that are older than the daemon which alone makes and uses them: it does not know them."""

import os
from collections.abc import Sequence
from functools import partial

from ..model import Match, Mount
from ..observe import unix_sockets
from ..observe.mountpoint_times import last_changes
from ..observe.processes import Daemon
from . import daemon_alive, daemon_start
from .proof import Inquiry, Pairs


def older(inquiry: Inquiry, pairs: Pairs) -> list[bool]:
    """Of each mount, all of one root, whether its mountpoint was made before the root's daemon started.

    The daemon runs and has answered. Raises: NoAnswer, OSError, ValueError where something can't be asked.
    """
    root = pairs[0][0].root
    daemon = inquiry.daemon(root)
    if daemon is None:
        return [False] * len(pairs)
    sockets = unix_sockets.own(daemon.pid)
    marks = daemon_start.marks(daemon, sockets)
    points = [os.path.join(root.path, match.rel) for match, _mount in pairs]
    return inquiry.ask(daemon, partial(_older, daemon, sockets, marks, points), len(pairs))


def lives(inquiry: Inquiry, match: Match, mount: Mount, name: bytes) -> bool:
    """Whether a process has its root on the mount, or names what it was made for. Raises: NoAnswer, OSError."""
    return mount.device in inquiry.traces.roots or inquiry.traces.name(name)


def _older(daemon: Daemon, sockets: Sequence[bytes], marks: Sequence[bytes], points: Sequence[bytes]) -> list[bool]:
    """In the daemon's mount namespace."""
    daemon_alive.answer(daemon, sockets)
    before = daemon_start.before(daemon, marks)
    if before is None:
        return [False] * len(points)
    return [time is not None and time < before for time in last_changes(points)]
