"""Containers of users: rootless podman's and Docker's, by the files in each user's home, which are read and no more.

containers-storage.conf(5): ~/.local/share/containers/storage, else `graphroot` of the user's own storage.conf or
`rootless_storage_path` of root's. moby: pkg/homedir (GetDataHome): ~/.local/share/docker, else `data-root` of
~/.config/docker/daemon.json. Only files of the user count, up to a few MiB: they may say anything.
"""

import os
import stat
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from ..model import Gap
from ..observe.accounts import Account, accounts
from ..observe.apart import apart
from . import stores
from .known_containers import KnownContainer
from .stores import StoreOwner

_LONGEST = 4 << 20
_MOST = 10_000
"""Containers of one user that are looked at."""


def every() -> tuple[list[KnownContainer], tuple[Gap, ...]]:
    """The containers of all users of /etc/passwd, and whose home does not answer."""
    shared = _toml("/etc/containers/storage.conf", stores.ROOT)
    asked = {
        one.name: partial(_of_user, one, shared) for one in accounts() if one.uid and one.home not in (b"/", b"/root")
    }
    functions: dict[str, Callable[[], list[KnownContainer]]] = dict(asked)
    found, hung = apart(functions)
    gaps = tuple(Gap(f"the containers of user {name}", "the home does not answer") for name in hung)
    return [one for some in found.values() for one in some], gaps


def _of_user(user: Account, shared: Mapping[str, Any]) -> list[KnownContainer]:
    found: list[KnownContainer] = []
    try:
        _collect(found, user, shared)
    except (OSError, ValueError, RecursionError, MemoryError):
        pass  # one user's files are no reason to know nothing of the others'
    return found


def _collect(found: list[KnownContainer], user: Account, shared: Mapping[str, Any]) -> None:
    owner = StoreOwner(user.uid, user.name, _LONGEST)
    for one in _containers(os.fsdecode(user.home), user, owner, shared):
        if len(found) >= _MOST:
            break
        found.append(one if _is_users(one.layer, user.uid) else replace(one, layer=None))


def _is_users(layer: str | None, uid: int) -> bool:
    """Whether it is a directory of the user: a link would lead to whatever the user wants it to be."""
    try:
        found = os.lstat(layer or "")
    except (OSError, ValueError):
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == uid


def _containers(home: str, user: Account, owner: StoreOwner, shared: Mapping[str, Any]) -> Iterator[KnownContainer]:
    own = _toml(f"{home}/.config/containers/storage.conf", owner)
    paths = (
        _key(own, "graphroot"),
        _key(shared, "rootless_storage_path"),
        f"{home}/.local/share/containers/storage",
    )
    for path in dict.fromkeys(filter(None, paths)):
        yield from stores.podman(_expanded(path, home, user), owner)
    match stores.load(f"{home}/.config/docker/daemon.json", owner):
        case {"data-root": str(root)} if root.startswith("/"):
            yield from stores.docker(root, owner)
    yield from stores.docker(f"{home}/.local/share/docker", owner)


def _expanded(path: str, home: str, user: Account) -> str:
    for name, value in (("HOME", home), ("USER", user.name), ("UID", str(user.uid))):
        path = path.replace(f"${name}", value).replace(f"${{{name}}}", value)
    return path


def _key(table: Mapping[str, Any], name: str) -> str | None:
    match table.get("storage"):
        case {**storage} if isinstance(path := storage.get(name), str) and "\0" not in path:
            return path if path.startswith(("/", "$")) else None
    return None


def _toml(path: str, owner: StoreOwner) -> Mapping[str, Any]:
    try:
        return tomllib.loads(stores.content(path, owner).decode())
    except (OSError, ValueError, RecursionError):
        return {}
