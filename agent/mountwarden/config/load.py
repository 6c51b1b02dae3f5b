"""From the files to a `Config`: defaults in code, then mountwarden.toml, then mountwarden.toml.d/*.toml by name.

A key of a later file replaces an earlier one's; `[confirm]` does so key by key; `[[root]]`, `[[policy]]` and
`[[silence]]` of all files count, in their order.
"""

import os
from collections.abc import Mapping
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


def load(directory: bytes = DIRECTORY, overrides: Mapping[str, object] | None = None) -> Config:
    """The configuration. `overrides` are top-level keys from the command line, which override all
    files.

    Raises: ConfigError for the first error. It is no error where there is no file.
    """
    draft = _Draft()
    for path in files.paths(directory):
        _read(files.read(path), draft)
    if overrides:
        _read(TomlTable(Source("command line", _EMPTY), overrides), draft)
    return _config(draft)


def parse(data: bytes, name: str = "configuration") -> Config:
    """The configuration of one file's content. Raises: ConfigError."""
    draft = _Draft()
    _read(files.parse(data, name), draft)
    return _config(draft)


def check(directory: bytes = DIRECTORY) -> list[ConfigError]:
    """The first error of each file; empty where `load` would succeed."""
    problems: list[ConfigError] = []
    draft = _Draft()
    try:
        paths = files.paths(directory)
    except ConfigError as error:
        return [error]
    for path in paths:
        try:
            _read(files.read(path), draft)
        except ConfigError as error:
            problems.append(error)
    try:
        _config(draft)
    except ConfigError as error:
        problems.append(error)
    return problems


def _read(table: TomlTable, draft: _Draft) -> None:
    _check_version(table, draft)
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
        for entry in table.tables(name):
            made = make(entry)
            entry.done()
            draft.origin[f"{name}[{len(entries)}]"] = table.source.at(entry.where)
            cast("list[object]", entries).append(made)
    table.done()


def _check_version(table: TomlTable, draft: _Draft) -> None:
    """Checked before the rest of a file: another version's keys would be reported as unknown. Raises: ConfigError."""
    version = table.integer("version", 1, 1_000_000)
    if version is None:
        return
    if version != VERSION:
        table.wrong("version", f"this mountwarden reads version {VERSION}", f"write version = {VERSION}, or update it")
    draft.origin["version"] = table.source.at("version")


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


def _root(table: TomlTable) -> RootEntry:
    path = _required(table, "path", table.path("path"))
    default = RootEntry(path)
    fstype = table.text("fstype")
    return RootEntry(
        path=path,
        kind=table.choice("kind", RootKind) or default.kind,
        layout=_layout(table) or default.layout,
        fstype=default.fstype if fstype is None else None if fstype == ANY else fstype,
        policy=table.choice("policy", Policy),
    )


def _layout(table: TomlTable) -> tuple[bytes, ...] | None:
    patterns = table.texts("layout")
    if patterns is None:
        return None
    for pattern in patterns:
        parts = pattern.split("/")
        if any(part in ("", ".", "..") or ("*" in part and part != "*") for part in parts):
            table.wrong("layout", "each pattern is a path below the root, in which * stands for one whole component")
    if not patterns:
        table.wrong("layout", "at least one pattern is wanted", 'write layout = ["*/merged"]')
    return tuple(pattern.encode() for pattern in patterns)


def _policy(table: TomlTable) -> PolicyEntry:
    return PolicyEntry(
        action=_required(table, "action", table.choice("action", Action)),
        policy=_required(table, "policy", table.choice("policy", Policy)),
        root=table.path("root"),
        engine=table.word("engine", (*ENGINES, "custom")),
        kind=table.choice("kind", Kind),
        unit=table.text("unit"),
    )


def _silence(table: TomlTable) -> Silence:
    silence = Silence(
        reason=_required(table, "reason", table.text("reason")),
        until=table.moment("until"),
        id=table.text("id"),
        root=table.path("root"),
        unit=table.text("unit"),
        kind=table.choice("kind", Kind),
    )
    if silence == replace(silence, id=None, root=None, unit=None, kind=None):
        table.wrong("reason", "this would silence every finding", "add id, root, unit or kind")
    return silence


def _required(table: TomlTable, name: str, value: T | None) -> T:
    if value is None:
        table.wrong(name, "must be given")
    return value


def _config(draft: _Draft) -> Config:
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
        raise ConfigError(f"{where}: resync: must not be shorter than tick ({durations.text(config.tick)})")
    twice = [entry.path for index, entry in enumerate(config.roots) if entry.path in _paths(config.roots[:index])]
    if twice:
        index = max(index for index, entry in enumerate(config.roots) if entry.path == twice[0])
        raise ConfigError(f"{draft.origin[f'root[{index}]']}: root: {os.fsdecode(twice[0])} is there twice")
    return config


def _paths(entries: tuple[RootEntry, ...]) -> frozenset[bytes]:
    return frozenset(entry.path for entry in entries)
