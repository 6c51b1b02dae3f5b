"""The interface of a graphdriver, its errors, and how a layer differs from its parent."""

import enum
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from ..errors import MountwardenError

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}\Z")


class GraphdriverError(MountwardenError):
    """A call of the driver failed, and why. The layer is as it was before the call."""

    status = 1


class NoSuchLayer(GraphdriverError):
    """There is no layer of that id in the home."""


class LayerExists(GraphdriverError):
    """There is a layer of that id already, or one with content where an empty one is needed."""


class NotSupported(GraphdriverError):
    """The host, the file system below the home, or the driver itself cannot do that."""


class ChangeKind(enum.IntEnum):
    """How a path differs from the parent's; the numbers are those of Docker's plugin protocol."""

    MODIFY = 0
    ADD = 1
    DELETE = 2


@dataclass(frozen=True, slots=True)
class Change:
    """One path that differs, absolute below the layer's root, as bytes."""

    path: bytes
    kind: ChangeKind


class ProtoDriver(Protocol):
    """The calls that a driver has to bring of its own; `naivediff.NaiveDiff` derives the others from them.

    Ids are those of the engine (letters, digits, `_`, `.`, `-`). Paths are bytes.
    """

    def create(self, layer: str, parent: str = "", *, storage_opt: Mapping[str, str] | None = None) -> None:
        """Make an empty layer on top of `parent`, or on nothing."""

    def remove(self, layer: str) -> None:
        """Remove the layer and its mount. A layer that is not there is no error."""

    def get(self, layer: str, mount_label: str = "") -> bytes:
        """The path of the layer's whole tree, mounted if it has to be. Each get needs a put."""

    def put(self, layer: str) -> int:
        """End one get; the last one detaches the mount, in every mount namespace. Returns the uses that are left."""

    def exists(self, layer: str) -> bool:
        """Whether there is such a layer."""

    def status(self) -> list[tuple[str, str]]:
        """Pairs for users: what the driver found about its host."""

    def get_metadata(self, layer: str) -> dict[str, str]:
        """The layer's directories by the names that engines show."""

    def cleanup(self) -> None:
        """Detach every mount that the driver made."""


class Driver(ProtoDriver, Protocol):
    """A whole driver: with what differs between two layers, as a list and as a tar stream."""

    def changes(self, layer: str, parent: str = "") -> list[Change]:
        """What differs between the layer and `parent`, sorted by path."""

    def diff(self, layer: str, parent: str, stream: BinaryIO) -> int:
        """Write the difference as an uncompressed layer tar; how many bytes."""

    def diff_size(self, layer: str, parent: str = "") -> int:
        """How many bytes the files that differ hold."""

    def apply_diff(self, layer: str, parent: str, stream: BinaryIO, *, end_marker: bool = True) -> int:
        """Apply an uncompressed layer tar to a new layer; how many bytes its members hold."""


def check_id(layer: str) -> str:
    """The id itself, if it is safe as the name of a directory. Raises: GraphdriverError."""
    if not _ID.match(layer):
        raise GraphdriverError(
            f"{layer!r} is no layer id", hint="use letters, digits, '_', '.' and '-', at most 200, no dot first"
        )
    return layer


def check_storage_opt(storage_opt: Mapping[str, str] | Sequence[str] | None, name: str) -> None:
    """The overlay driver takes no option for a single layer. Raises: NotSupported where there is one."""
    if storage_opt:
        raise NotSupported(f"--storage-opt is not supported for {name}")
