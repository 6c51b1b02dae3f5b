"""Programs that tests hand to another interpreter, as text, import what is there."""

import importlib
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
IMPORT = re.compile(r"^(?:from (mountwarden[\w.]*) import ([\w, ]+)|import (mountwarden[\w.]*))", re.MULTILINE)


def imports(text: str) -> Iterator[tuple[str, str | None]]:
    """Module and name of each import of ours that begins a line of a string."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.STRING and "mountwarden" in token.string:
            for match in IMPORT.finditer(token.string):
                yield from ((match[1] or match[3], name.split()[0]) for name in (match[2] or "__name__").split(","))


def is_there(module: str, name: str) -> bool:
    try:
        return hasattr(importlib.import_module(module), name) or bool(importlib.import_module(f"{module}.{name}"))
    except ModuleNotFoundError:
        return False


FOUND = sorted(
    (str(file.relative_to(TESTS)), module, name)
    for file in TESTS.rglob("*.py")
    for module, name in imports(file.read_text())
)


def test_there_are_such_programs() -> None:
    assert len({file for file, _module, _name in FOUND}) > 5
    assert not is_there("mountwarden.kernel", "nothing_of_that_name")


@pytest.mark.parametrize(("file", "module", "name"), FOUND)
def test_a_program_imports_what_is_there(file: str, module: str, name: str) -> None:
    assert is_there(module, name), f"{file}: from {module} import {name}"
