"""Users and groups on both sides of a user namespace (user_namespaces(7)), as Docker's userns-remap gives them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .driver import GraphdriverError

_LIMIT = 0xFFFFFFFF  # (uid_t)-1 means "leave as it is" in chown(2)


@dataclass(frozen=True, slots=True)
class IdMap:
    """One line of /proc/PID/uid_map: `size` ids from `container` on are those from `host` on outside."""

    container: int
    host: int
    size: int

    def __post_init__(self) -> None:
        first = min(self.container, self.host)
        last = max(self.container, self.host) + self.size
        if first < 0 or self.size < 1 or last > _LIMIT:
            raise GraphdriverError(f"id map {self.container}:{self.host}:{self.size} is out of range")


def parse(values: Iterable[Mapping[str, Any]] | None) -> tuple[IdMap, ...]:
    """Maps from the plugin protocol's JSON: objects of container_id, host_id and size. Raises: GraphdriverError."""
    try:
        return tuple(IdMap(int(v["container_id"]), int(v["host_id"]), int(v["size"])) for v in values or ())
    except (KeyError, TypeError, ValueError) as error:
        raise GraphdriverError(f"an id map needs container_id, host_id and size as numbers: {error!r}") from None


def to_json(maps: Iterable[IdMap]) -> list[dict[str, int]]:
    """The reverse of `parse`."""
    return [{"container_id": m.container, "host_id": m.host, "size": m.size} for m in maps]


@dataclass(frozen=True, slots=True)
class IdMaps:
    """The maps of users and of groups. Empty maps mean that both sides are the same."""

    uids: tuple[IdMap, ...] = ()
    gids: tuple[IdMap, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.uids or self.gids)

    def host(self, uid: int, gid: int) -> tuple[int, int]:
        """Ids outside of those that a container sees. Raises: GraphdriverError for an id that no line covers."""
        return _to_host(self.uids, uid, "uid"), _to_host(self.gids, gid, "gid")

    def container(self, uid: int, gid: int) -> tuple[int, int]:
        """Ids that a container sees of those outside. Raises: GraphdriverError for an id that no line covers."""
        return _to_container(self.uids, uid, "uid"), _to_container(self.gids, gid, "gid")

    def root(self) -> tuple[int, int]:
        """The owner outside of what belongs to root inside."""
        return self.host(0, 0)


def _to_host(maps: tuple[IdMap, ...], number: int, kind: str) -> int:
    if not maps:
        return number
    for m in maps:
        if m.container <= number < m.container + m.size:
            return m.host + number - m.container
    raise GraphdriverError(f"{kind} {number} of the container is not mapped to the host")


def _to_container(maps: tuple[IdMap, ...], number: int, kind: str) -> int:
    if not maps:
        return number
    for m in maps:
        if m.host <= number < m.host + m.size:
            return m.container + number - m.host
    raise GraphdriverError(f"{kind} {number} of the host is not mapped into the container")
