"""Keys and values of the configuration may be added, never removed or retyped: config-1.fields holds version 1's."""

from dataclasses import fields
from pathlib import Path

import pytest
from mountwarden.config import dump as config_dump
from mountwarden.config import load
from mountwarden.config.schema import ENGINES, VERSION, Config, Confirm, PolicyEntry, RootEntry, Silence
from mountwarden.errors import ConfigError

FROZEN = [line.split(" ", 1) for line in Path(__file__).with_name("config-1.fields").read_text().splitlines()]

SAMPLES = {
    "duration": (('"6s"', "6", "6.0", '"6000ms"', '"0.1m"', '"5 sec 1s"'), ('"7s"',)),
    "integer": (("5",), ("6",)),
    "path": (('"/srv/one.prom"',), ('"/srv/two.prom"',)),
    "text": (('"one"',), ('"two"',)),
    "patterns": (('["*/merged", "a/*/b"]',), ('["*/merged"]',)),
    "engines": ((str(list(ENGINES)).replace("'", '"'),), ("[]",)),
    "moment": (("2030-01-31T12:00:00Z", "2030-01-31T13:00:00+01:00"), ("2030-01-31T12:00:01Z",)),
}
"""Type to how one value may be written, and to another value."""

REQUIRED = {
    "root": {"path": '"/srv/layers"'},
    "policy": {"action": '"detach"', "policy": '"ask"'},
    "silence": {"reason": '"on purpose"', "unit": '"backup.service"'},
    "confirm": {},
}


def written(key: str, value: str) -> str:
    """A file with this key, and what its table must have beside it."""
    table, _dot, name = key.rpartition(".")
    lines = {**REQUIRED.get(table.removesuffix("[]"), {}), name: value}
    head = f"[[{table.removesuffix('[]')}]]" if table.endswith("[]") else f"[{table}]" if table else ""
    return "\n".join([head, *(f"{each} = {text}" for each, text in lines.items())])


def loaded(key: str, value: str) -> Config:
    return load.parse(written(key, value).encode())


def words(key: str) -> list[str]:
    """The words that a key takes."""
    return [value for name, value in FROZEN if name == key and value.startswith('"')]


@pytest.mark.parametrize(("key", "type"), FROZEN, ids=lambda part: part)
def test_no_key_is_removed_or_retyped(key: str, type: str) -> None:
    same, others = SAMPLES.get(type, ((type,), tuple(word for word in words(key) if word != type)))
    (config, *again) = [loaded(key, value) for value in same]
    assert all(each == config for each in again)
    assert all(loaded(key, value) != config for value in others), "what is written has no effect"


def test_every_key_of_today_is_held() -> None:
    """A key that was added is held from its first release on: add it to config-1.fields."""
    tables = {"root": RootEntry, "policy": PolicyEntry, "silence": Silence}
    shown = config_dump.dump(Config()).partition("\n\n[confirm]\n")
    keys = {line.split(" = ")[0] for line in shown[0].splitlines()}
    keys |= {f"confirm.{field.name}" for field in fields(Confirm)}
    keys |= {f"{name}[].{field.name}" for name, table in tables.items() for field in fields(table)}
    assert keys == {key for key, _type in FROZEN}


def test_another_version_is_refused_before_its_keys_are() -> None:
    assert load.parse(b"version = 1\n") == Config()
    assert VERSION == 1
    with pytest.raises(ConfigError) as error:
        load.parse(b"colour = 1\nversion = 2\n", "file")
    assert error.value.message == "file:2: version: this mountwarden reads version 1"
    assert error.value.hint == "write version = 1, or update it"
