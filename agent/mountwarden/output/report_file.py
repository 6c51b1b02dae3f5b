"""The report as a file: written by the service, read by commands that may not scan themselves."""

import json
import os
from importlib import resources
from pathlib import Path
from typing import Any, cast

from ..errors import MountwardenError
from ..report import types
from ..state import run_directory

PATH = "/run/mountwarden/report.json"


def dumps(document: object) -> str:
    """JSON for users and programs alike: indented, UTF-8, one final newline."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the report, as it ships."""
    text = (resources.files("mountwarden") / "data" / "report-2.schema.json").read_text("utf-8")
    return cast("dict[str, Any]", json.loads(text))


def write(report: types.ReportJson, path: str = PATH) -> None:
    """Replace the file at once: 0640, of the journal's group where the host has it. Raises: OSError."""
    run_directory.write(Path(path), dumps(report).encode())


def read(path: str = PATH) -> types.ReportJson:
    """The stored report.

    Raises: OSError as open(2) does; MountwardenError when the document is not a report of a known schema.
    """
    with open(path, encoding="utf-8") as file:
        text = file.read()
    try:
        document = json.loads(text)
    except ValueError as error:
        raise MountwardenError(f"{path} is not JSON: {error}") from None
    if not isinstance(document, dict) or document.get("schema") != types.SCHEMA:
        raise MountwardenError(f"{path} is not a {types.SCHEMA}", hint="the agent and this command differ in version")
    return cast("types.ReportJson", document)


def agent_is_gone(report: types.ReportJson) -> bool:
    """Whether the process that wrote the report has ended."""
    return report["agent"] is None or not alive(report["agent"]["pid"])


def alive(pid: int) -> bool:
    """Whether there is a process with this id, of any user."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
