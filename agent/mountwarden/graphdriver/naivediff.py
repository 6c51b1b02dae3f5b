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
from .uppers import Uppers

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
    """Compares trees as containers see them. `parent` "" stands for an empty tree.

    Whole trees, but where the driver knows of upper directories that hold all that can differ: `uppers` is given the
    layer and its parent, and returns them, or none.
    """

    def __init__(
        self, driver: ProtoDriver, maps: IdMaps, uppers: Callable[[str, str], list[bytes]] | None = None
    ) -> None:
        self._driver = driver
        self._maps = maps
        self._uppers = uppers

    def _compare(self, stack: ExitStack, layer: str, parent: str) -> tuple[RootDirectory, list[Change]]:
        """The layer's tree, open as long as `stack`, and how it differs."""
        new = stack.enter_context(_Got(self._driver, layer))
        if not parent:
            return new, compare(new, None)
        old = stack.enter_context(_Got(self._driver, parent))
        found = self._uppers(layer, parent) if self._uppers else []
        uppers = [stack.enter_context(RootDirectory(path)) for path in found]
        return new, compare(new, old, Uppers(uppers) if uppers else None)

    def changes(self, layer: str, parent: str = "") -> list[Change]:
        """What differs between the layer and `parent`, sorted by path."""
        with ExitStack() as stack:
            return self._compare(stack, layer, parent)[1]

    def diff_size(self, layer: str, parent: str = "") -> int:
        """How many bytes the files that differ hold."""
        with ExitStack() as stack:
            return size(*self._compare(stack, layer, parent))

    def diff(self, layer: str, parent: str, stream: BinaryIO) -> int:
        """Write what differs as an uncompressed layer tar; how many bytes."""
        with ExitStack() as stack:
            new, changes = self._compare(stack, layer, parent)
            return write_layer(new, changes, stream, self._maps)

    def apply_diff(self, layer: str, stream: BinaryIO, options: Options) -> int:
        """Apply a layer tar to the tree as it is seen by a container; how many bytes its members hold."""
        path = self._driver.get(layer)
        try:
            return apply_layer(path, stream, options)
        finally:
            self._driver.put(layer)
