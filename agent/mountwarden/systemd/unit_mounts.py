"""The mounts that a service is given by its own directives, systemd.exec(5): BindPaths=, RootImage= and their kin."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from . import units


@dataclass(frozen=True, slots=True)
class UnitMount:
    """One mount that a directive asks for."""

    directive: str
    destination: bytes
    """Path in the unit's namespace; of ExtensionImages= it is not known."""
    source: bytes | None = None
    """Path of the host that is bound; None where it is an image, or nothing of the host."""


def of(service: str) -> tuple[UnitMount, ...] | None:
    """Ask PID 1 what mounts a running service was given; None where it does not answer within `units.DEADLINE`."""
    properties = units.service_properties(service)
    return None if properties is None else tuple(given(properties))


def given(properties: Mapping[bytes, Any]) -> Iterator[UnitMount]:
    """The mounts in the properties of a service; what is missing or of another type than expected is none. Pure."""
    for name in ("BindPaths", "BindReadOnlyPaths"):  # a(ssbt): source, destination, ignore, flags
        for item in _items(properties, name, 2):
            yield UnitMount(name, item[1], item[0])
    for item in _items(properties, "TemporaryFileSystem", 1):  # a(ss): path, options
        yield UnitMount("TemporaryFileSystem", item[0])
    for item in _items(properties, "MountImages", 2):  # a(ssba(ss)): source, destination, ignore, options
        yield UnitMount("MountImages", item[1])
    if _items(properties, "ExtensionImages", 1):
        yield UnitMount("ExtensionImages", b"")
    root, image = properties.get(b"RootDirectory"), properties.get(b"RootImage")
    if isinstance(root, bytes) and root.startswith(b"/"):
        yield UnitMount("RootDirectory", b"/", root)
    if isinstance(image, bytes) and image:
        yield UnitMount("RootImage", b"/")


def _items(properties: Mapping[bytes, Any], name: str, paths: int) -> list[Any]:
    found = properties.get(name.encode(), [])
    rows = found if isinstance(found, list) else []
    return [row for row in rows if isinstance(row, tuple) and len(row) >= paths and _are_paths(row[:paths])]


def _are_paths(values: tuple[Any, ...]) -> bool:
    return all(isinstance(value, bytes) for value in values)
