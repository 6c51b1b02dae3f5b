"""Facts made by hand for tests of pure code."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from mountwarden.model import Copy, Layout, Match, Mount, Picture, Root, RootKind, RootState, Spot, Tier, grouped
from mountwarden.mounts.table import Table
from mountwarden.scan.history import History, HomeMount, remember
from mountwarden.scan.home_readings import LiveChange, homes_read

HOME = 4026531841
OTHER = 4026532999
ROOT = Root(
    path=b"/var/lib/docker",
    engine="docker",
    kind=RootKind.GRAPH,
    layout=(Layout(b"overlay2/*/merged", "overlay"),),
    home=HOME,
)


def mount(identity: int, parent: int, point: str, **other: object) -> Mount:
    """A tmpfs on `point`; keyword arguments replace fields."""
    fields: dict[str, object] = {
        "id": identity,
        "parent": parent,
        "device": f"0:{identity}",
        "root": b"/",
        "point": point.encode(),
        "options": b"rw",
        "shared": 0,
        "master": 0,
        "propagate_from": 0,
        "unbindable": False,
        "fstype": "tmpfs",
        "source": b"x",
        "super_options": b"rw",
    }
    return Mount(**(fields | other))  # type: ignore[arg-type]


def host_root(**other: object) -> Mount:
    """The root mount of a host, shared."""
    return mount(1, 0, "/", **({"device": "8:1", "fstype": "ext4", "shared": 1} | other))


def layer(identity: int, parent: int, name: str = "X", device: str = "0:40", **other: object) -> Mount:
    """The overlay of a layer of `ROOT`."""
    upper = f"rw,lowerdir=l,upperdir=/var/lib/docker/overlay2/{name}/diff,workdir=w".encode()
    point = f"/var/lib/docker/overlay2/{name}/merged"
    held = mount(identity, parent, point, device=device, fstype="overlay", super_options=upper)
    return dataclasses.replace(held, **other)  # type: ignore[arg-type]


def table(*mounts: Mount) -> Table:
    """A namespace's table."""
    return Table(mounts)


def picture(*, roots: tuple[object, ...] = (), copies: tuple[Copy, ...] = (), identities: object = ()) -> Picture:
    """A picture with a fixed boot."""
    return Picture("boot", Tier.MOUNTINFO, roots, {}, copies, 0, frozenset(identities))  # type: ignore[arg-type]


__all__ = ["HOME", "OTHER", "ROOT", "Match", "Spot", "host_root", "layer", "mount", "picture", "table"]


def paths(value: Any, at: str = "") -> list[str]:
    """Each field of a document by its path, as the reference names it."""
    if isinstance(value, dict):
        return [p for key, one in value.items() for p in (f"{at}{key}", *paths(one, f"{at}{key}."))]
    if isinstance(value, list):
        return [p for one in value for p in paths(one, at[:-1] + "[].")]
    return []


def remembered(
    history: History, state: RootState, copies: Iterable[Copy], unread: frozenset[int] = frozenset()
) -> tuple[History, tuple[Copy, ...]]:
    """The history after a scan that reads every namespace, and the copies with their history."""
    before = [one for many in history.live.values() for one in many]
    now = [
        HomeMount(state.matches[spot], mount, frozenset({mount.id}), state.home)
        for spot, mounts in state.live.items()
        for mount in mounts
    ]
    went, came = tuple(one for one in before if one not in now), tuple(one for one in now if one not in before)
    blind = frozenset() if state.mount else frozenset({(state.root.path, state.home)})
    number = history.scanned + 1
    read = homes_read(history, LiveChange(went, came, blind), number)
    after, spaces = remember(read, [state], grouped(copies), unread, number)
    return after, tuple(copy for space in spaces for copy in space.copies)
