"""Fields of mountwarden.report/2 may be added, never removed or retyped: report-2.fields holds those there were."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mountwarden.output import report_file

FROZEN = Path(__file__).with_name("report-2.fields")


def fields(schema: dict[str, Any], node: dict[str, Any], path: str = "") -> Iterator[str]:
    """`path type` for each field; alternatives of one field are fields of the same path."""
    if "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    for key, value in node.get("properties", {}).items():
        yield from typed(schema, value, f"{path}.{key}")


def typed(schema: dict[str, Any], node: dict[str, Any], path: str) -> Iterator[str]:
    if "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    if "type" in node:
        yield f"{path} {json.dumps(node['type'])}"
    for each in node.get("anyOf", []) + node.get("oneOf", []):
        yield from typed(schema, each, path)
    if "items" in node:
        yield from typed(schema, node["items"], f"{path}[]")
    yield from fields(schema, node, path)


def test_no_field_is_removed_or_retyped() -> None:
    frozen = FROZEN.read_text().splitlines()
    assert len(frozen) > 60
    now = set(fields(report_file.schema(), report_file.schema()))
    assert [field for field in frozen if field not in now] == []
