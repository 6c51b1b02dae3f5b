"""The document of `mountwarden map` as types. Text of the host in it is escaped already."""

from typing import TypedDict

from .types import GapJson, HostJson

SCHEMA = "mountwarden.map/1"


class MapRootJson(TypedDict):
    path: str
    engine: str
    kind: str
    live: int
    """Mounts of home on its spots."""
    wants_private: bool
    status: str


class RowJson(TypedDict):
    """One namespace beside one mount of home."""

    namespace: int
    kind: str
    who: str
    relation: str
    """peer, slave, cut-off; elsewhere: none of its mounts shows the root, and it has a copy all the same."""
    at: str | None
    """Where the root, or the first of several, is there."""
    peer_group: int | None
    master: int | None
    copies: int
    """Copies of what home has mounted now."""
    leaks: int
    """Those of them that umounts in home will not reach."""
    on_purpose: int
    """The same, where the engine keeps its root private on purpose, and removes each mountpoint itself."""
    leaked: int
    """Copies of what home has unmounted."""
    unconfirmed: int
    """The same, seen for less than the confirm time."""
    findings: list[str]


class BaseJson(TypedDict):
    """A mount of home that holds roots, with each namespace that shows them."""

    home: int
    mount_id: int
    at: str
    device: str
    fstype: str
    propagation: str
    peer_group: int | None
    roots: list[MapRootJson]
    namespaces: list[RowJson]


class MapSummaryJson(TypedDict):
    roots: int
    namespaces: int
    mounts: int
    without: int
    """Namespaces that show no root."""
    cut_off: int
    """Namespaces that are cut off from a root."""
    leaks: int
    leaked: int
    unconfirmed: int


class MapJson(TypedDict):
    schema: str
    version: str
    taken: str
    host: HostJson
    complete: bool
    summary: MapSummaryJson
    bases: list[BaseJson]
    unjudged: list[MapRootJson]
    """Roots for which no mount of home was found."""
    gaps: list[GapJson]
