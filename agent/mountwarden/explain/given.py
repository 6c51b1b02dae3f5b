"""What a container or a unit was given on purpose: a mount in its namespace that its own configuration asks for.

Only what the runtime or PID 1 says counts, and what it says must fit: the path in the namespace is the destination, and
the source is the mountpoint at home or below it. A copy that merely came along with a namespace is in no such list.
"""

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..escape import short_id
from ..model import Given, GivenQuestion, Holder
from ..mounts.table import below
from ..observe import paths
from ..systemd import unit_mounts
from . import holders, naming, oci, stopping
from .members import service_of

_FEW = 8
"""Processes of a namespace that are asked for their container or unit."""

AGAIN = 60.0
"""Seconds after which PID 1 is asked again where it did not answer."""

_EXTENSIONS = b"/run/systemd/unit-extensions/"
"""Where systemd mounts the images of ExtensionImages= in a unit's namespace."""


@dataclass(frozen=True, slots=True)
class _Known:
    answer: Given | None
    until: float
    """Seconds of the monotonic clock."""


class GivenMounts:
    """Answers the judge, and remembers: a container or unit that runs has the mounts that it was started with."""

    def __init__(self) -> None:
        self._known: dict[tuple[GivenQuestion, int], _Known] = {}

    def answers(
        self, questions: Iterable[GivenQuestion], members: Mapping[int, tuple[int, ...]]
    ) -> dict[GivenQuestion, Given | None]:
        """Who was given each of the mounts. `members` are the processes of each namespace. May ask PID 1."""
        now = time.monotonic()
        asked = {one: members.get(one.namespace, ()) for one in questions}
        keys = {(one, pids[0]) for one, pids in asked.items() if pids}
        alive = {inode for inode, pids in members.items() if pids}
        self._known = {
            key: known for key, known in self._known.items() if known.until > now and key[0].namespace in alive
        }
        for one, first in keys - self._known.keys():
            self._known[one, first] = _asked(one, asked[one], now)
        return {one: self._known[one, pids[0]].answer if pids else None for one, pids in asked.items()}


def _asked(question: GivenQuestion, pids: tuple[int, ...], now: float) -> _Known:
    for pid in pids[:_FEW]:
        try:
            holder = holders.holder(pid)
        except OSError:
            continue
        if holder is None:
            continue
        if holder.container and stopping.user_of(holder) is not None:
            return _Known(None, float("inf"))  # a user's own, whatever id it has: no engine of root's gave it anything
        if holder.container:
            return _Known(_of_container(question, holder, holder.container), float("inf"))
        service = None if holder.user_unit else service_of(holder)
        if service:
            mounts = unit_mounts.of(service)
            if mounts is None:
                return _Known(None, now + AGAIN)
            return _Known(_of_unit(question, service, mounts), float("inf"))
    return _Known(None, now + AGAIN)


def _of_container(question: GivenQuestion, holder: Holder, container: str) -> Given | None:
    for mount in oci.binds(container):
        if os.path.normpath(mount.destination) == question.point and _is_source(mount.source, question.mountpoint):
            return Given(naming.container_name(container), question.point, _stop(holder, mount.config, container))
    return None


def _stop(holder: Holder, config: str, container: str) -> str | None:
    """The engine's command, by where the runtime's configuration is and by the name of the scope."""
    scope = holder.unit or ""
    if "/moby/" in config:
        return f"docker stop {short_id(container)}"
    if scope.startswith("crio-") or "/k8s.io/" in config:
        return f"crictl stop {short_id(container)}"
    return f"podman stop {short_id(container)}" if "/overlay-containers/" in config else None


def _of_unit(question: GivenQuestion, service: str, mounts: Iterable[unit_mounts.UnitMount]) -> Given | None:
    for mount in mounts:
        there = os.path.normpath(mount.destination) == question.point
        if mount.directive == "ExtensionImages":
            there = question.point.startswith(_EXTENSIONS)
        fits = mount.source is None or _is_source(mount.source, question.mountpoint)
        if there and fits and (mount.directive != "TemporaryFileSystem" or question.fstype == "tmpfs"):
            return Given(stopping.named(service, None), question.point, stopping.systemctl("stop", service))
    return None


def _is_source(source: bytes, mountpoint: bytes) -> bool:
    """Whether the source is that mountpoint or below it, by its text or with its symbolic links resolved."""
    plain = os.path.normpath(source)
    if below(mountpoint, plain) is not None:
        return True
    try:
        return below(mountpoint, paths.place(plain).path) is not None
    except OSError:
        return False
