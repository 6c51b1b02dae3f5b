"""From the files to a `Config`: defaults in code, then mountwarden.toml, then mountwarden.toml.d/*.toml by name.

A key of a later file replaces an earlier one's; `[confirm]` does so key by key; `[[root]]`, `[[policy]]` and
`[[silence]]` of all files count, in their order.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TypeVar, cast

from .. import durations
from ..errors import ConfigError
from ..model import Action, Kind, Policy, RootKind, Tier
from . import files
from .getters import Source, TomlTable
from .schema import DIRECTORY, ENGINES, VERSION, Config, Confirm, Mode, PolicyEntry, RootEntry, Silence

T = TypeVar("T")

ANY = "any"
"""The word for any file system type, in `fstype` of a `[[root]]`."""
BEST = "best"
"""The word for the best kernel interface that works, in `tier`."""

_DAY = 86400.0
_EMPTY: Mapping[str, int] = {}


@dataclass(slots=True)
class _Draft:
    """The values of the files that were read so far."""

    values: dict[str, object] = field(default_factory=dict)
    confirm: dict[str, float] = field(default_factory=dict)
    roots: list[RootEntry] = field(default_factory=list)
    policies: list[PolicyEntry] = field(default_factory=list)
    silences: list[Silence] = field(default_factory=list)
    origin: dict[str, str] = field(default_factory=dict)
    errors: list[ConfigError] = field(default_factory=list)
    """File by file, each file's by line."""


def load(directory: bytes = DIRECTORY, overrides: Mapping[str, object] | None = None) -> Config:
    """The configuration. `overrides` are top-level keys from the command line, which override all files.

    Raises: ConfigError for the first error, with the others. It is no error where there is no file.
    """
    return _sound(*drafted(directory, overrides))


def parse(data: bytes, name: str = "configuration") -> Config:
    """The configuration of one file's content. Raises: ConfigError for the first error, with the others."""
    draft = _Draft()
    _read(files.parse(data, name), draft)
    return _sound(_config(draft), draft.errors)


def check(directory: bytes = DIRECTORY, overrides: Mapping[str, object] | None = None) -> list[ConfigError]:
    """Every error, file by file and by line; empty where `load` would succeed."""
    return drafted(directory, overrides)[1]


def drafted(
    directory: bytes = DIRECTORY, overrides: Mapping[str, object] | None = None
) -> tuple[Config, list[ConfigError]]:
    """The configuration without what is wrong, and all that is."""
    draft = _Draft()
    try:
        paths = files.paths(directory)
    except ConfigError as error:
        paths, draft.errors = [], [error]
    for path in paths:
        try:
            _read(files.read(path), draft)
        except ConfigError as error:
            draft.errors.append(error)
    if overrides:
        _read(TomlTable(Source("command line", _EMPTY), overrides), draft)
    return _config(draft), draft.errors


def _sound(config: Config, errors: list[ConfigError]) -> Config:
    if errors:
        errors[0].others = tuple(errors[1:])
        raise errors[0]
    return config


def _read(table: TomlTable, draft: _Draft) -> None:
    if _is_of_our_version(table, draft):
        _read_keys(table, draft)
        table.done()
    draft.errors += table.source.errors


def _read_keys(table: TomlTable, draft: _Draft) -> None:
    values = {
        "mode": table.choice("mode", Mode),
        "tick": table.seconds("tick", 0.1, 60),
        "resync": table.seconds("resync", 1, 3600),
        "engines": table.words("engines", ENGINES),
        "acts_per_minute": table.integer("acts_per_minute", 0, 100_000),
    }
    if table.has("tier"):
        word = table.word("tier", (BEST, *Tier))
        draft.values["tier"] = None if word in (None, BEST) else Tier(str(word))
        draft.origin["tier"] = table.source.at("tier")
    if table.has("metrics"):
        draft.values["metrics"] = _metrics(table)
        draft.origin["metrics"] = table.source.at("metrics")
    for key, value in values.items():
        if value is not None:
            draft.values[key] = value
            draft.origin[key] = table.source.at(key)
    _read_confirm(table.table("confirm"), draft)
    for name, make, entries in (
        ("root", _root, draft.roots),
        ("policy", _policy, draft.policies),
        ("silence", _silence, draft.silences),
    ):
        for entry in table.tables(name) or ():
            _read_entry(entry, make, f"{name}[{len(entries)}]", cast("list[object]", entries), draft)


def _read_entry(
    entry: TomlTable, make: Callable[[TomlTable], object | None], name: str, entries: list[object], draft: _Draft
) -> None:
    made = make(entry)
    if made is not None:
        draft.origin[name] = entry.source.at(entry.where)
        entries.append(made)
    entry.done()


def _is_of_our_version(table: TomlTable, draft: _Draft) -> bool:
    """Asked before the rest of a file is read: another version's keys would be reported as unknown."""
    version = table.integer("version", 1, 1_000_000)
    if version is None:
        return True
    if version != VERSION:
        text = f"{table.source.at('version')}: version: this mountwarden reads version {VERSION}"
        table.source.note(ConfigError(text, hint=f"write version = {VERSION}, or update it"))
        return False
    draft.origin["version"] = table.source.at("version")
    return True


def _metrics(table: TomlTable) -> bytes | None:
    """A path; None for "none", which overrides an earlier file's."""
    return None if table.text("metrics") == "none" else table.path("metrics")


def _read_confirm(table: TomlTable | None, draft: _Draft) -> None:
    if table is None:
        return
    for each in fields(Confirm):
        value = table.seconds(each.name, 0, _DAY)
        if value is not None:
            draft.confirm[each.name] = value
            draft.origin[table.key(each.name)] = table.source.at(table.key(each.name))
    table.done()


def _root(table: TomlTable) -> RootEntry | None:
    path, kind = _required(table, "path", table.path("path")), table.choice("kind", RootKind)
    layout, fstype, policy = _layout(table), table.text("fstype"), table.choice("policy", Policy)
    if path is None:
        return None
    default = RootEntry(path)
    return RootEntry(
        path=path,
        kind=kind or default.kind,
        layout=layout or default.layout,
        fstype=default.fstype if fstype is None else None if fstype == ANY else fstype,
        policy=policy,
    )


def _layout(table: TomlTable) -> tuple[bytes, ...] | None:
    patterns = table.texts("layout")
    if patterns is None:
        return None
    for pattern in patterns:
        parts = pattern.split("/")
        if any(part in ("", ".", "..") or ("*" in part and part != "*") for part in parts):
            text = "each pattern is a path below the root, in which * stands for one whole component"
            table.refuse("layout", text)
    if not patterns:
        table.refuse("layout", "at least one pattern is wanted", 'write layout = ["*/merged"]')
    return tuple(pattern.encode() for pattern in patterns)


def _policy(table: TomlTable) -> PolicyEntry | None:
    action = _required(table, "action", table.choice("action", Action))
    policy = _required(table, "policy", table.choice("policy", Policy))
    root, engine = table.path("root"), table.word("engine", (*ENGINES, "custom"))
    kind, unit = table.choice("kind", Kind), table.text("unit")
    if (action, policy, kind) == (Action.UNMOUNT, Policy.AUTO, Kind.ABANDONED) and engine not in (None, "containerd"):
        text = f"what {engine} left behind is never unmounted by itself, only tasks and temporary mounts of containerd"
        table.refuse("engine", text, 'write engine = "containerd", or policy = "ask"')
    return PolicyEntry(action, policy, root, engine, kind, unit) if action and policy else None


def _silence(table: TomlTable) -> Silence | None:
    reason = _required(table, "reason", table.text("reason"))
    until, identity = table.moment("until"), table.text("id")
    root, unit, kind = table.path("root"), table.text("unit"), table.choice("kind", Kind)
    if not any(map(table.has, ("id", "root", "unit", "kind"))):
        table.refuse("reason", "this would silence every finding", "add id, root, unit or kind")
    return Silence(reason, until, identity, root, unit, kind) if reason else None


def _required(table: TomlTable, name: str, value: T | None) -> T | None:
    """The value; an error is noted where there is none."""
    if not table.has(name):
        table.refuse(name, "must be given")
    return value


def _config(draft: _Draft) -> Config:
    """The configuration of what is right in the draft; what does not go together becomes an error of the draft."""
    config = replace(
        Config(),
        confirm=replace(Confirm(), **draft.confirm),
        roots=tuple(draft.roots),
        policies=tuple(draft.policies),
        silences=tuple(draft.silences),
        origin=dict(draft.origin),
        **draft.values,  # type: ignore[arg-type]
    )
    if config.resync < config.tick:
        where = draft.origin.get("resync", draft.origin.get("tick", "defaults"))
        text = f"{where}: resync: must not be shorter than tick ({durations.text(config.tick)})"
        draft.errors.append(ConfigError(text))
    for index, entry in enumerate(config.roots):
        if entry.path in _paths(config.roots[:index]):
            text = f"{draft.origin[f'root[{index}]']}: root: {os.fsdecode(entry.path)} is there twice"
            draft.errors.append(ConfigError(text))
    return config


def _paths(entries: tuple[RootEntry, ...]) -> frozenset[bytes]:
    return frozenset(entry.path for entry in entries)
