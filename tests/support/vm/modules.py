"""Kernel modules of a Debian package, in the order in which they can be loaded.

The packages have no modules.dep (depmod runs at their installation), so a module's own `depends=` is read.
"""

import lzma
import re
from pathlib import Path

from tests.support.vm.apt import Unavailable

_NAME = re.compile(r"(?P<name>.+)\.ko(?P<packed>\.xz)?")
_DEPENDS = re.compile(rb"\0depends=([^\0]*)\0")


class Modules:
    """The modules below a directory."""

    def __init__(self, directory: Path) -> None:
        self._files = {
            _normal(found["name"]): file for file in directory.rglob("*.ko*") if (found := _NAME.fullmatch(file.name))
        }
        if not self._files:
            raise Unavailable(f"no module in {directory.name}, or all are packed in an unknown way")

    def load_order(self, wanted: tuple[str, ...]) -> dict[str, bytes]:
        """Contents by name: each after those it needs. One that is not there is built in, or this kernel has it not."""
        order: dict[str, bytes] = {}
        for name in wanted:
            self._add(_normal(name), order)
        return order

    def _add(self, name: str, order: dict[str, bytes]) -> None:
        if name in order or name not in self._files:
            return
        data = _unpacked(self._files[name])
        for needed in _needed(data):
            self._add(needed, order)
        order[name] = data


def _normal(name: str) -> str:
    return name.replace("-", "_")


def _needed(data: bytes) -> list[str]:
    found = _DEPENDS.search(data)
    return [_normal(name) for name in found.group(1).decode().split(",") if name] if found else []


def _unpacked(file: Path) -> bytes:
    data = file.read_bytes()
    return lzma.decompress(data) if file.suffix == ".xz" else data
