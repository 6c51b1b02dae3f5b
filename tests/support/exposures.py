"""Exposures by whole tables: what the product finds in texts."""

from collections.abc import Mapping

from mountwarden.model import Picture
from mountwarden.mounts.exposure import Exposure, Exposures
from mountwarden.mounts.table import Table


def exposures(picture: Picture, tables: Mapping[int, Table]) -> tuple[Exposure, ...]:
    """Every exposure of every root of the picture in the namespaces of `tables` (by inode)."""
    found = Exposures(picture.roots)
    for inode, table in tables.items():
        found.add_whole(inode, table)
    return found.all(tables)
