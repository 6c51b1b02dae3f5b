"""A second driver, as simple as one can be: each layer a whole copy. It shows that the suite holds for any driver."""

import os
import shutil
from collections.abc import Mapping
from typing import BinaryIO

from mountwarden.graphdriver.copytree import TreeCopy, copy_tree
from mountwarden.graphdriver.driver import Change, LayerExists, NoSuchLayer, check_id, check_storage_opt
from mountwarden.graphdriver.idmap import IdMaps
from mountwarden.graphdriver.naivediff import NaiveDiff
from mountwarden.graphdriver.tar.extract import Options


class CopyDriver:
    def __init__(self, home: bytes) -> None:
        self._home = home
        os.mkdir(home, 0o700)
        self._naive = NaiveDiff(self, IdMaps())

    def _path(self, layer: str) -> bytes:
        return os.path.join(self._home, os.fsencode(check_id(layer)))

    def _existing(self, layer: str) -> bytes:
        if not self.exists(layer):
            raise NoSuchLayer(f"there is no layer {layer}")
        return self._path(layer)

    def create(self, layer: str, parent: str = "", *, storage_opt: Mapping[str, str] | None = None) -> None:
        check_storage_opt(storage_opt, "copy")
        below = self._existing(parent) if parent else None
        if self.exists(layer):
            raise LayerExists(f"layer {layer} exists already")
        os.mkdir(self._path(layer), 0o755)
        if below is not None:
            copy_tree(below, self._path(layer), TreeCopy.CONTENT)

    def remove(self, layer: str) -> None:
        shutil.rmtree(self._path(layer), ignore_errors=True)

    def get(self, layer: str, mount_label: str = "") -> bytes:
        return self._existing(layer)

    def put(self, layer: str) -> int:
        return 0

    def exists(self, layer: str) -> bool:
        return os.path.isdir(self._path(layer))

    def status(self) -> list[tuple[str, str]]:
        return []

    def get_metadata(self, layer: str) -> dict[str, str]:
        return {"Directory": os.fsdecode(self._existing(layer))}

    def cleanup(self) -> None:
        pass

    def changes(self, layer: str, parent: str = "") -> list[Change]:
        return self._naive.changes(layer, parent)

    def diff(self, layer: str, parent: str, stream: BinaryIO) -> int:
        return self._naive.diff(layer, parent, stream)

    def diff_size(self, layer: str, parent: str = "") -> int:
        return self._naive.diff_size(layer, parent)

    def apply_diff(self, layer: str, parent: str, stream: BinaryIO, *, end_marker: bool = True) -> int:
        return self._naive.apply_diff(layer, stream, Options(end_marker=end_marker))
