"""Extended attributes of layers: which ones are part of a layer, and how ids in them are translated.

xattr(7), acl(5) with its form in linux/posix_acl_xattr.h, and capabilities(7) with struct vfs_ns_cap_data of
linux/capability.h.
"""

import errno
import os
import struct
from collections.abc import Callable, Iterable

from .idmap import IdMaps

CAPABILITY = "security.capability"
ACLS = ("system.posix_acl_access", "system.posix_acl_default")
_OVERLAY = "trusted.overlay."
# What overlayfs notes about where a copy came from or what is in use; untrue in a copy of the upper directory.
_STALE = ("origin", "impure", "index", "nlink", "upper", "uuid", "protattr")
_OVERLAY_STALE = frozenset(_OVERLAY + name for name in _STALE)
_REFUSALS = frozenset((errno.EOPNOTSUPP, errno.EPERM, errno.EACCES, errno.EINVAL))

_ACL_VERSION = 2
_ACL_HEADER = struct.Struct("<I")
_ACL_ENTRY = struct.Struct("<HHI")
_ACL_USER = 0x02
_ACL_GROUP = 0x08
_CAP_REVISION_MASK = 0xFF000000
_CAP_REVISION_2 = 0x02000000
_CAP_REVISION_3 = 0x03000000
_CAP_SIZE_2 = 20


def names(target: bytes | int) -> list[str]:
    """The attributes of a path (its link is not followed) or a descriptor; none where there can be none."""
    try:
        return os.listxattr(target) if isinstance(target, int) else os.listxattr(target, follow_symlinks=False)
    except OSError as error:
        if error.errno in _REFUSALS:
            return []
        raise


def read(target: bytes | int, wanted: Iterable[str]) -> dict[str, bytes]:
    """The values of the attributes in `wanted`; one that has gone meanwhile is left out."""
    values = {}
    for name in wanted:
        try:
            values[name] = _get(target, name)
        except OSError as error:
            if error.errno not in (errno.ENODATA, *_REFUSALS):
                raise
    return values


def _get(target: bytes | int, name: str) -> bytes:
    return os.getxattr(target, name) if isinstance(target, int) else os.getxattr(target, name, follow_symlinks=False)


def write(target: bytes | int, values: dict[str, bytes]) -> None:
    """Set attributes; one that this file system or kind of file cannot have is left out."""
    for name, value in values.items():
        try:
            if isinstance(target, int):
                os.setxattr(target, name, value)
            else:
                os.setxattr(target, name, value, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _REFUSALS:
                raise


def travels(name: str) -> bool:
    """Whether an attribute belongs in a layer's tar. Labels and what overlayfs keeps for itself are the host's."""
    return name.startswith("user.") or name == CAPABILITY or name in ACLS


def stays_true(name: str) -> bool:
    """Whether an attribute still holds in a copy of a layer's directory on the same host."""
    return name not in _OVERLAY_STALE


def to_layer(values: dict[str, bytes], maps: IdMaps) -> dict[str, bytes]:
    """As a container sees them: ids in ACLs translated, capabilities without the id of their namespace's root."""
    return {name: _to_layer(name, value, maps) for name, value in values.items()}


def _to_layer(name: str, value: bytes, maps: IdMaps) -> bytes:
    if name == CAPABILITY and _revision(value) == _CAP_REVISION_3:
        flags = struct.unpack_from("<I", value)[0] & ~_CAP_REVISION_MASK
        return struct.pack("<I", flags | _CAP_REVISION_2) + value[4:_CAP_SIZE_2]
    if name in ACLS and maps:
        uid, gid = maps.root()
        return _map_acl(value, lambda n: maps.container(n, gid)[0], lambda n: maps.container(uid, n)[1])
    return value


def to_host(values: dict[str, bytes], maps: IdMaps) -> dict[str, bytes]:
    """The reverse: capabilities bound to the remapped root, without which the kernel gives them to nobody inside."""
    return {name: _to_host(name, value, maps) for name, value in values.items()}


def _to_host(name: str, value: bytes, maps: IdMaps) -> bytes:
    if name == CAPABILITY and maps and _revision(value) == _CAP_REVISION_2 and len(value) == _CAP_SIZE_2:
        flags = struct.unpack_from("<I", value)[0] & ~_CAP_REVISION_MASK
        return struct.pack("<I", flags | _CAP_REVISION_3) + value[4:] + struct.pack("<I", maps.root()[0])
    if name in ACLS and maps:
        return _map_acl(value, lambda n: maps.host(n, 0)[0], lambda n: maps.host(0, n)[1])
    return value


def _revision(value: bytes) -> int:
    return int(struct.unpack_from("<I", value)[0]) & _CAP_REVISION_MASK if len(value) >= 4 else 0


def _map_acl(value: bytes, user: Callable[[int], int], group: Callable[[int], int]) -> bytes:
    """An ACL with the ids of its named users and groups translated; text of another version is left as it is."""
    body = len(value) - _ACL_HEADER.size
    if body < 0 or body % _ACL_ENTRY.size or _ACL_HEADER.unpack_from(value)[0] != _ACL_VERSION:
        return value
    entries = []
    for tag, permissions, number in _ACL_ENTRY.iter_unpack(value[_ACL_HEADER.size :]):
        if tag == _ACL_USER:
            number = user(number)
        elif tag == _ACL_GROUP:
            number = group(number)
        entries.append(_ACL_ENTRY.pack(tag, permissions, number))
    return value[: _ACL_HEADER.size] + b"".join(entries)
