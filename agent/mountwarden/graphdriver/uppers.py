"""Which names can differ between two overlays on one lower tree: those in an upper directory of either.

All other names come from the lower tree in both. That does not hold below an opaque or a redirected directory (kernel
documentation, filesystems/overlayfs.rst, "whiteouts and opaque directories" and "redirect_dir"), nor in an overlay with
an index (mount option `index=on`), where a file changes with its hard links, which are in no upper directory.
"""

import os
from collections.abc import Sequence

from . import layout, xattrs
from .beneath import Escape, RootDirectory
from .layout import Layer

_OTHER_LOWER = frozenset(("trusted.overlay.opaque", "trusted.overlay.redirect"))
_INDEX = b"index"


def on_one_lower(layer: Layer, parent: Layer) -> list[bytes]:
    """The upper directories of a layer and its parent that share a lower tree, or of a layer on this very image.

    No directory if it is otherwise, if an index was in use, or if a mount of somebody else's hides one.
    """
    if layer.has_root():
        return []
    if parent.has_root():
        shared, found = os.fsdecode(os.path.basename(parent.directory)), [layer]
    else:
        shared, found = parent.lower_id(), [layer, parent]
    if layer.lower_id() != shared or not all(map(_holds_all_changes, found)):
        return []
    return [one.upper for one in found]


def _holds_all_changes(layer: Layer) -> bool:
    return not layout.is_directory(os.path.join(layer.work, _INDEX)) and not layout.is_mounted(layer.upper)


class Uppers:
    """The upper directories of overlays that share their lower tree. They are read at each call, and not closed."""

    def __init__(self, directories: Sequence[RootDirectory]) -> None:
        self._directories = directories

    def names(self, path: bytes) -> set[bytes] | None:
        """The names that can differ in a directory that is one in all the overlays; None: any name, also below.

        The directories above it must not be of those that yield None. Raises: OSError.
        """
        found: set[bytes] = set()
        for upper in self._directories:
            names = _names(upper, path)
            if names is None:
                return None
            found |= names
        return found


def _names(upper: RootDirectory, path: bytes) -> set[bytes] | None:
    try:
        fd = upper.open_directory(path)
    except FileNotFoundError:
        return set()
    except (OSError, Escape):  # replaced meanwhile, or below a mount of somebody else's: then nothing is known
        return None
    try:
        if not _OTHER_LOWER.isdisjoint(xattrs.names(fd)):
            return None
        return {os.fsencode(name) for name in os.listdir(fd)}
    finally:
        os.close(fd)
