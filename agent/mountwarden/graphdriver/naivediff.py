"""The four calls about differences, for any driver that can get and put a layer."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import BinaryIO

from .beneath import RootDirectory
from .changes import compare, size
from .driver import Change, ProtoDriver
from .idmap import IdMaps
from .tar.extract import Options, apply_layer
from .tar.writer import write_layer

Progress = Callable[[int], None]


class _Got(AbstractContextManager[RootDirectory]):
    """A layer between get and put, for reading its tree."""

    def __init__(self, driver: ProtoDriver, layer: str) -> None:
        self._driver = driver
        self._layer = layer

    def __enter__(self) -> RootDirectory:
        path = self._driver.get(self._layer)
        try:
            self._root = RootDirectory(path)
        except BaseException:
            self._driver.put(self._layer)
            raise
        return self._root

    def __exit__(self, *exception: object) -> None:
        self._root.__exit__(None, None, None)
        self._driver.put(self._layer)


class NaiveDiff:
    """Compares whole trees; no knowledge of how the driver stacks them. `parent` "" stands for an empty tree."""

    def __init__(self, driver: ProtoDriver, maps: IdMaps) -> None:
        self._driver = driver
        self._maps = maps

    def _open(self, stack: ExitStack, layer: str, parent: str) -> tuple[RootDirectory, RootDirectory | None]:
        new = stack.enter_context(_Got(self._driver, layer))
        return new, stack.enter_context(_Got(self._driver, parent)) if parent else None

    def changes(self, layer: str, parent: str = "") -> list[Change]:
        """What differs between the layer and `parent`, sorted by path."""
        with ExitStack() as stack:
            return compare(*self._open(stack, layer, parent))

    def diff_size(self, layer: str, parent: str = "") -> int:
        """How many bytes the files that differ hold."""
        with ExitStack() as stack:
            new, old = self._open(stack, layer, parent)
            return size(new, compare(new, old))

    def diff(self, layer: str, parent: str, stream: BinaryIO) -> int:
        """Write what differs as an uncompressed layer tar; how many bytes."""
        with ExitStack() as stack:
            new, old = self._open(stack, layer, parent)
            return write_layer(new, compare(new, old), stream, self._maps)

    def apply_diff(self, layer: str, stream: BinaryIO, options: Options) -> int:
        """Apply a layer tar to the tree as it is seen by a container; how many bytes its members hold."""
        path = self._driver.get(layer)
        try:
            return apply_layer(path, stream, options)
        finally:
            self._driver.put(layer)
