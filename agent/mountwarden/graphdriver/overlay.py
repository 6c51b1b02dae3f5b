"""The `overlay` graphdriver: images as hard-linked trees, containers as overlay mounts, rmdir-on-put.

The home is never made private. A private home does not keep mounts from leaking (a namespace made later copies them
all the same) and cuts off the umounts that would clean the copies up. Instead `put` removes the mountpoint after the
detach, and with it the kernel (Linux 3.18 and later) detaches the copies in every other mount namespace.
"""

import contextlib
import errno
import logging
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO

from ..kernel import syscalls
from . import layout, support
from .copytree import TreeCopy, copy_tree
from .driver import Change, GraphdriverError, LayerExists, NoSuchLayer, check_id, check_storage_opt
from .home import check_d_type, make_home, mount_options
from .idmap import IdMap, IdMaps
from .layout import Layer
from .locker import Locker, hold_directory
from .naivediff import NaiveDiff, Progress
from .refcount import RefCounter
from .removal import detach, ensure_removed, remove_tree
from .tar.extract import Options, apply_layer, default_devices
from .uppers import on_one_lower

_log = logging.getLogger(__name__)
_LONGEST_ID = 72  # 64 hex digits, "-init", and some room
_PAGE = 4096  # mount(2) takes one page of options on every architecture, at least


class OverlayDriver:
    """One home of layers. Make it with `init`. All calls may come from several threads, and from several processes."""

    name = "overlay"

    def __init__(self, home: bytes, maps: IdMaps, backing: str, *, d_type: bool, options: bytes) -> None:
        self.home = home
        self.maps = maps
        self.backing = backing
        self.d_type = d_type
        self._options = options
        self._counter = RefCounter(layout.is_mounted)
        self._locker = Locker()
        self._naive = NaiveDiff(self, maps, self._uppers)
        self._devices = default_devices()

    @classmethod
    def init(
        cls,
        home: bytes | str,
        options: Sequence[str] = (),
        uid_maps: Sequence[IdMap] = (),
        gid_maps: Sequence[IdMap] = (),
        *,
        load_module: bool = True,
    ) -> "OverlayDriver":
        """Check the host, make the home (0700, the remapped root's), and return the driver on it.

        `options` are accepted and ignored, as by Docker's own driver. `load_module=False` starts no process.
        Raises: NotSupported where overlayfs is missing, or a file system below the home that can carry it.
        """
        home = os.path.abspath(os.fsencode(home))
        maps = IdMaps(tuple(uid_maps), tuple(gid_maps))
        if options:
            _log.warning("the driver knows no options, ignoring %s", ", ".join(options))
        if load_module:
            support.load_overlay_module()
        support.require_overlay()
        directory, magic = support.magic_of(home)
        support.require_backing(magic)
        backing = support.backing_file_system(magic)
        d_type = check_d_type(home, directory, backing)
        make_home(home, maps)
        driver = cls(home, maps, backing, d_type=d_type, options=mount_options())
        driver._check_length()
        driver._remove_unfinished()
        return driver

    def __str__(self) -> str:
        return self.name

    def _check_length(self) -> None:
        longest = Layer(os.path.join(self.home, b"x" * _LONGEST_ID))
        if len(self._data(longest, longest)) >= _PAGE:
            raise GraphdriverError(
                f"the path of the home is too long ({len(self.home)} bytes): mount(2) takes one page of options"
            )

    def _remove_unfinished(self) -> None:
        """Remove what a killed `create` left. A live one holds its lock."""
        for name in os.listdir(self.home):
            if name.startswith(layout.UNFINISHED):
                path = os.path.join(self.home, name)
                with hold_directory(path) as there:
                    if there:
                        self._remove_at(path)

    @staticmethod
    def _remove_at(path: bytes) -> None:
        parent_fd = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            remove_tree(parent_fd, os.path.basename(path))
        finally:
            os.close(parent_fd)

    # Queries

    def status(self) -> list[tuple[str, str]]:
        """The backing file system, and whether it gives d_type."""
        return [("Backing Filesystem", self.backing), ("Supports d_type", str(self.d_type).lower())]

    def layers(self) -> list[str]:
        """The ids of all layers, sorted."""
        with os.scandir(self.home) as entries:
            return sorted(os.fsdecode(e.name) for e in entries if e.is_dir() and not e.name.startswith(b"."))

    def exists(self, layer: str) -> bool:
        """Whether there is such a layer."""
        return layout.is_directory(self._layer(layer).directory)

    def parent(self, layer: str) -> str | None:
        """The id that the layer was created on; None if it is not known."""
        return self._existing(layer).parent()

    def get_metadata(self, layer: str) -> dict[str, str]:
        """RootDir of an image; LowerDir, UpperDir, WorkDir and MergedDir of a container."""
        found = self._existing(layer)
        if found.has_root():
            return {"RootDir": os.fsdecode(found.root)}
        return {
            "LowerDir": os.fsdecode(self._layer(found.lower_id()).root),
            "UpperDir": os.fsdecode(found.upper),
            "WorkDir": os.fsdecode(found.work),
            "MergedDir": os.fsdecode(found.merged),
        }

    # Making and removing

    def create(self, layer: str, parent: str = "", *, storage_opt: Mapping[str, str] | None = None) -> None:
        """Make a layer: an empty `root` without a parent, else an empty container on top of it.

        A parent without a `root` passes on its image, and its upper directory is copied. The layer appears whole or
        not at all; one of that id already there is `LayerExists`.
        """
        check_storage_opt(storage_opt, self.name)
        target = self._layer(layer)
        below = self._existing(parent) if parent else None
        if layout.is_directory(target.directory):
            raise LayerExists(f"layer {layer} exists already")
        new = Layer(tempfile.mkdtemp(prefix=layout.UNFINISHED + os.fsencode(layer) + b"-", dir=self.home))
        try:
            with hold_directory(new.directory):
                os.chown(new.directory, *self.maps.root())
                self._fill(new, parent, below)
                os.rename(new.directory, target.directory)
        except BaseException as error:
            self._remove_at(new.directory)
            if isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise LayerExists(f"layer {layer} exists already") from error
            raise

    def create_read_write(self, layer: str, parent: str = "", *, storage_opt: Mapping[str, str] | None = None) -> None:
        """The same as `create`: every layer of this driver can be written to."""
        self.create(layer, parent, storage_opt=storage_opt)

    def _fill(self, new: Layer, parent: str, below: Layer | None) -> None:
        new.write(layout.PARENT, parent)
        if below is None:
            self._mkdir(new.root, 0o755)
            return
        image = below.has_root()
        mode = stat.S_IMODE(os.lstat(below.root if image else below.upper).st_mode)
        new.write(layout.LOWER_ID, parent if image else below.lower_id())
        self._mkdir(new.upper, mode)
        self._mkdir(new.work, 0o700)
        if not image:
            copy_tree(below.upper, new.upper, TreeCopy.CONTENT)

    def remove(self, layer: str) -> None:
        """Remove a layer and its mount, trying for a while where it is busy. One that is not there is no error."""
        with self._held(layer) as target:
            if layout.is_directory(target.directory):
                self._counter.forget(target.merged)
                ensure_removed(target.directory, target.merged)

    # Mounting

    def get(self, layer: str, mount_label: str = "") -> bytes:
        """The path of the whole tree: an image's `root`, or `merged` with the overlay mounted on it.

        Each get of a container is counted and needs its put; the count of a new process starts from what is
        mounted. `mount_label` is an SELinux context. On failure nothing is left mounted.
        """
        with self._held(layer) as target:
            return self._get(layer, target, mount_label)

    def _get(self, layer: str, target: Layer, mount_label: str = "") -> bytes:
        if not layout.is_directory(target.directory):
            raise NoSuchLayer(f"there is no layer {layer}")
        if target.has_root():
            return target.root
        if self._counter.increment(target.merged) > 1:
            return target.merged
        try:
            self._mount(target, mount_label)
        except BaseException:
            self._let_go(target)
            raise
        return target.merged

    def _mount(self, target: Layer, mount_label: str) -> None:
        image = self._layer(target.lower_id())
        if not layout.is_directory(target.merged):
            self._mkdir(target.merged, 0o700)
        try:
            syscalls.mount(
                b"overlay", target.merged, b"overlay", 0, layout.with_label(self._data(image, target), mount_label)
            )
        except OSError as error:
            raise GraphdriverError(f"cannot mount the overlay: {error}") from error
        # Inside a user namespace overlayfs moves directories up through work/work as the remapped root.
        os.chown(os.path.join(target.work, layout.WORK), *self.maps.root())

    def _data(self, image: Layer, target: Layer) -> bytes:
        paths = tuple(layout.escaped(path) for path in (image.root, target.upper, target.work))
        return b"lowerdir=%s,upperdir=%s,workdir=%s" % paths + self._options

    def put(self, layer: str) -> int:
        """End one get. The last one detaches the mount and removes the mountpoint, and with it each namespace's copy.

        That it was not mounted, or that a kernel before 3.18 refuses the rmdir, is no error. Where it stays mounted,
        the use counts on and the error says why. Returns how many uses are left.
        """
        with self._held(layer) as target:
            return self._put(target)

    def _put(self, target: Layer) -> int:
        if target.has_root():
            return 0
        left = self._counter.decrement(target.merged)
        if left <= 0 and (error := self._let_go(target)):
            raise GraphdriverError(f"cannot detach the overlay: {error}") from error
        return max(0, left)

    def _let_go(self, target: Layer) -> OSError | None:
        """Detach and remove the mountpoint; the error if it is still mounted then."""
        self._counter.forget(target.merged)
        try:
            detach(target.merged)
        except OSError as error:
            _log.debug("detach of %s: %s", os.fsdecode(target.merged), error)
            return error
        try:
            os.rmdir(target.merged)
        except OSError as error:
            _log.debug("rmdir of %s: %s, ignoring", os.fsdecode(target.merged), error)
        return None

    def count_again(self, layer: str) -> None:
        """Undo a `put` that left the layer mounted, where the caller did not get the answer."""
        with self._held(layer) as target:
            self._counter.increment(target.merged)

    def mounted(self) -> list[str]:
        """The layers that are mounted now, in the caller's mount namespace."""
        return [layer for layer in self.layers() if layout.is_mounted(self._layer(layer).merged)]

    def cleanup(self) -> None:
        """Detach every layer that is mounted. Mounts on the home that the driver did not make are left alone."""
        errors = []
        for layer in self.mounted():
            with self._held(layer) as target:
                errors.append(self._let_go(target))
        if failed := [str(error) for error in errors if error]:
            raise GraphdriverError(f"cannot detach {len(failed)} layers: {failed[0]}")

    # Differences

    def changes(self, layer: str, parent: str = "") -> list[Change]:
        """What differs between the layer and `parent`, sorted by path."""
        return self._naive.changes(layer, parent)

    def diff(self, layer: str, parent: str, stream: BinaryIO) -> int:
        """Write what differs as an uncompressed layer tar; how many bytes."""
        return self._naive.diff(layer, parent, stream)

    def diff_size(self, layer: str, parent: str = "") -> int:
        """How many bytes the files that differ hold."""
        return self._naive.diff_size(layer, parent)

    def apply_diff(
        self,
        layer: str,
        parent: str,
        stream: BinaryIO,
        *,
        end_marker: bool = True,
        maximum_bytes: int | None = None,
        progress: Progress | None = None,
    ) -> int:
        """Make an image of a new layer: its parent's tree in hard links, with the layer tar applied on top.

        The tree is made beside and renamed into place, so that a failure leaves the layer as it was. Where the parent
        has no `root` or the layer has content already, the tar is applied in place, to what a container sees.
        """
        options = Options(
            maps=self.maps,
            devices=self._devices,
            end_marker=end_marker,
            maximum_bytes=maximum_bytes,
            progress=progress,
        )
        with self._held(layer) as target:
            if not layout.is_directory(target.directory):
                raise NoSuchLayer(f"there is no layer {layer}")
            base = self._base(target, parent)
            if base is None:
                return self._apply_in_place(layer, target, stream, options)
            return self._apply_beside(target, base, stream, options)

    def _base(self, target: Layer, parent: str) -> bytes | None:
        """The tree to start from: the parent's, or for a layer on nothing its own empty one; None: apply in place."""
        if not parent:
            return target.root if target.has_root() and not os.listdir(target.root) else None
        below = self._existing(parent)
        if not below.has_root():
            return None
        if target.has_root():
            raise LayerExists(f"layer {os.fsdecode(os.path.basename(target.directory))} has been applied already")
        return None if os.listdir(target.upper) else below.root

    def _apply_in_place(self, layer: str, target: Layer, stream: BinaryIO, options: Options) -> int:
        path = self._get(layer, target)
        try:
            return apply_layer(path, stream, options)
        finally:
            self._put(target)

    def _apply_beside(self, target: Layer, base: bytes, stream: BinaryIO, options: Options) -> int:
        beside = os.path.join(target.directory, layout.APPLYING)
        self._remove_at(beside)
        try:
            os.mkdir(beside, 0o700)
            copy_tree(base, beside, TreeCopy.HARDLINK)
            size = apply_layer(beside, stream, options)
            os.rename(beside, target.root)
        except BaseException:
            self._remove_at(beside)
            raise
        self._let_go(target)
        for name in (layout.UPPER, layout.WORK, layout.LOWER_ID):
            self._remove_at(os.path.join(target.directory, name))
        return size

    def _uppers(self, layer: str, parent: str) -> list[bytes]:
        return on_one_lower(self._layer(layer), self._layer(parent))

    # Small helpers

    def _layer(self, layer: str) -> Layer:
        return Layer(os.path.join(self.home, os.fsencode(check_id(layer))))

    def _existing(self, layer: str) -> Layer:
        found = self._layer(layer)
        if not layout.is_directory(found.directory):
            raise NoSuchLayer(f"there is no layer {layer}")
        return found

    @contextlib.contextmanager
    def _held(self, layer: str) -> Iterator[Layer]:
        """The layer's paths, with its lock held."""
        found = self._layer(layer)
        with self._locker.hold(layer), hold_directory(found.directory):
            yield found

    def _mkdir(self, path: bytes, mode: int) -> None:
        os.mkdir(path, 0o700)
        os.chown(path, *self.maps.root())
        os.chmod(path, mode)
