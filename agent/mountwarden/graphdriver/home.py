"""Making a driver's home, and what its mounts need on this host."""

import logging
import os

from . import support
from .driver import NotSupported
from .idmap import IdMaps

_log = logging.getLogger(__name__)


def mount_options() -> bytes:
    """Turns off the features that do not work with a shared lower tree, where this kernel has them on by default.

    index: a mount on the same upper is refused with EBUSY while a leaked copy lives. metacopy: a copied upper would
    hold files without their content.
    """
    return b"".join(b",%s=off" % name.encode() for name in ("index", "metacopy") if support.default_on(name))


def check_d_type(home: bytes, directory: bytes, backing: str) -> bool:
    """Whether the home's file system gives d_type. Raises: NotSupported where not, unless the home is in use."""
    if support.has_d_type(directory):
        return True
    message = support.d_type_message(backing)
    if not support.is_used(home):
        raise NotSupported(message)
    _log.warning("%s; the home is in use already, ignoring", message)
    return False


def make_home(home: bytes, maps: IdMaps) -> None:
    """Make the home 0700 and the remapped root's. Directories on the way that are missing too get the same."""
    missing = []
    path = home
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for path in reversed(missing):
        os.mkdir(path, 0o700)
        os.chown(path, *maps.root())
    os.chown(home, *maps.root())
    os.chmod(home, 0o700)
