"""Unit files as they are on disk."""

import os

from ..files import read_regular
from ..model import UnitFile
from .unit_syntax import parse

PLACES = (b"/etc/systemd/", b"/run/systemd/", b"/usr/lib/systemd/", b"/lib/systemd/")
"""The only folders from which unit files are read: root's own."""

_LONGEST = 1 << 20
"""Bytes; a longer file is not read."""


def read(path: bytes) -> UnitFile | None:
    """A unit file; None where it is gone, no regular file, above a MiB, or leads out of `PLACES`."""
    real = os.path.realpath(path)
    if not real.startswith(PLACES):
        return None
    try:
        found = read_regular(real, _LONGEST, follow=False)
    except OSError:
        return None
    return UnitFile(path, parse(found.data), found.status.st_mtime)
