"""A container as its engine's own files know it, and which of them a name means. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import MountwardenError
from ..escape import printable, short_id

SHORTEST = 4
"""Digits of an id that mean it, where no other begins with them."""
_NAMED = 5


@dataclass(frozen=True, slots=True)
class KnownContainer:
    """A container, or the sandbox of a pod. All text is the engine's: it is shown escaped, and used in no command."""

    engine: str
    id: str
    names: tuple[str, ...]
    layer: str | None
    """The directory of its file system or of its writable layer; whether it exists was not checked."""
    user: str | None = None
    """Whose it is where that is not root."""
    pod: str | None = None
    """The pod that it is in."""
    is_sandbox: bool = False
    """It stands for the pod itself: its names are the pod's."""

    def __str__(self) -> str:
        what = "pod" if self.is_sandbox else "container"
        name = next(iter(self.names), self.id)
        inside = f" of pod {printable(self.pod)}" if self.pod and not self.is_sandbox else ""
        whose = f" of user {printable(self.user)}" if self.user else ""
        return f"{what} {printable(short_id(name))}{inside} ({self.engine}{whose}, {printable(short_id(self.id))})"


def chosen(asked: str, every: Iterable[KnownContainer]) -> KnownContainer | None:
    """The one that is meant: by its name or whole id, else by a beginning of its id that no other has.

    Raises: MountwardenError where several are meant, which names them.
    """
    known: dict[str, KnownContainer] = {}
    for one in every:
        known.setdefault(one.id, one)  # Docker's record is read before that of its containerd
    exact = [one for one in known.values() if asked == one.id or asked in one.names]
    found = exact or [one for one in known.values() if len(asked) >= SHORTEST and one.id.startswith(asked)]
    if len(found) > 1:
        found = _without_own_sandbox(found)
    if len(found) > 1:
        named = "; ".join(f"{one}" for one in found[:_NAMED])
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        raise MountwardenError(f"{printable(asked)} means {len(found)}: {named}{more}", hint="give an id")
    return found[0] if found else None


def _without_own_sandbox(found: list[KnownContainer]) -> list[KnownContainer]:
    """A pod and its one container often have one name: the container is meant, whose files are not just a sandbox's."""
    containers = [one for one in found if not one.is_sandbox]
    pods = {(one.engine, one.pod) for one in containers}
    return containers if containers and all((one.engine, one.pod) in pods for one in found) else found
