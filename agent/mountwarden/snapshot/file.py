"""A snapshot as a file: one JSON document, 0600, and the checks before anything of it is used."""

import json
import os
import stat
import sys
from collections.abc import Mapping
from typing import Any

from ..codec import DecodeError, Decoder, Encoder, Format
from ..errors import MountwardenError
from ..escape import original, printable
from ..files import NotRegular, TooLarge, read_regular, replace_file
from ..model import Base, Match, Mount, Root, RootState
from .contents import SCHEMA, Snapshot

STREAM = "-"
"""Stands for stdin or stdout in place of a file's name."""
LARGEST = 128 << 20
"""Bytes of the largest file that is read: some 500,000 mounts."""
_MOST_VALUES = 12_000_000
"""JSON values in a file that is read, at most, by a count of their separators."""
_MOST_ROOTS = 1_000
FORMAT = Format(
    text=printable,
    raw=original,
    shared=(Mount, Root, Base, Match),
    host_text=frozenset(
        (
            *("fstype", "comm", "unit", "container", "user_unit", "hostname", "kernel", "what", "reason", "status"),
            *("how", "id", "value", "asked", "record", "proof", "frees"),
        )
    ),
    other_fields=True,
)
"""Text of the host is escaped in it. Fields of `host_text` are escaped wherever they are shown."""
_MADE_BY = "a snapshot is made by mountwarden snapshot FILE"


def dumps(snapshot: Snapshot) -> str:
    """The document."""
    encoder = Encoder(FORMAT)
    facts = encoder.encode(snapshot)
    return json.dumps({"schema": SCHEMA, "shared": encoder.shared, "snapshot": facts}, separators=(",", ":")) + "\n"


def write(path: str, snapshot: Snapshot, name: str | None = None, *, force: bool = False) -> int:
    """Write the file, for its owner alone, or to stdout where its name is `STREAM`; returns the number of bytes.

    `name` is what errors call it, where that is not its path.

    A regular file that is there is replaced only with `force`, and never in part; nothing else ever is.

    Raises: MountwardenError where it is there, or `read` would refuse what there is to write; OSError.
    """
    data = dumps(snapshot).encode()
    if len(data) > LARGEST or _values(data) > _MOST_VALUES or len(snapshot.picture.roots) > _MOST_ROOTS:
        raise MountwardenError(f"a snapshot of this host is too large to be read again ({len(data) >> 20} MiB)")
    if path == STREAM:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        return len(data)
    check(path, name or path, force=force)
    try:
        replace_file(path, data, mode=0o600, exclusive=not force)
    except FileExistsError:
        raise _is_there(name or path) from None
    return len(data)


def check(path: str, name: str, *, force: bool) -> None:
    """Whether `write` may write that file now. `name` is what errors call it.

    Raises: MountwardenError where not; OSError.
    """
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if path == STREAM:
        return
    if not stat.S_ISREG(status.st_mode):
        hint = f"name another file, or {STREAM} for stdout"
        raise MountwardenError(f"{printable(name)} is there already, and is no regular file", hint=hint)
    if not force:
        raise _is_there(name)


def _is_there(name: str) -> MountwardenError:
    return MountwardenError(f"{printable(name)} is there already", hint="name another file, or add --force")


def read(path: str) -> Snapshot:
    """The snapshot of a file, or of stdin where its name is `STREAM`.

    Raises: OSError as open(2) does; MountwardenError with what is wrong with the file.
    """
    name = "stdin" if path == STREAM else path
    try:
        return parse(_from_stdin() if path == STREAM else read_regular(path, LARGEST).data)
    except NotRegular as error:
        raise MountwardenError(str(error)) from None
    except TooLarge:
        raise MountwardenError(f"{name} can't be judged: it is larger than {LARGEST >> 20} MiB") from None
    except DecodeError as error:
        raise MountwardenError(f"{name} can't be judged: {error.message}", hint=error.hint) from None


def _from_stdin() -> bytes:
    data = sys.stdin.buffer.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise TooLarge
    return data


def parse(data: bytes) -> Snapshot:
    """The snapshot of a file's content. Raises: DecodeError, and nothing else."""
    if _values(data) > _MOST_VALUES:
        raise DecodeError(f"it has more than {_MOST_VALUES:,} values")
    try:
        document = json.loads(data.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError):  # a number may be too long, too
        raise DecodeError("it is not JSON, or cut off", hint=_MADE_BY) from None
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise DecodeError(f"it is not a {SCHEMA}", hint=_MADE_BY)
    snapshot = Decoder(FORMAT, document.get("shared")).decode(Snapshot, document.get("snapshot"))
    _check(snapshot)
    return snapshot


def _values(data: bytes) -> int:
    return sum(map(data.count, (b",", b"[", b"{")))


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _check(snapshot: Snapshot) -> None:
    """What the rules of judge/ rely on in any picture. Raises: DecodeError."""
    if len(snapshot.picture.roots) > _MOST_ROOTS:
        raise DecodeError(f"it has more than {_MOST_ROOTS:,} roots")
    for state in snapshot.picture.roots:
        if why := _inconsistent(state):
            raise DecodeError(f"a root is not consistent: {why}")
    if snapshot.survey and _is_twice(snapshot.survey.tables):
        raise DecodeError("a mount id is there twice")


def _is_twice(tables: Mapping[int, tuple[Mount, ...]]) -> bool:
    ids = [mount.id for mounts in tables.values() for mount in mounts]
    return len(ids) != len(set(ids))


def _inconsistent(state: RootState) -> str | None:
    if not state.root.layout:
        return "it has no layout"
    if state.live and not state.bases:
        return "it has mounts, and none that holds them"
    if state.live.keys() - state.matches.keys():
        return "a mount is on no spot of its layout"
    return "a spot has no mount" if not all(state.live.values()) else None
