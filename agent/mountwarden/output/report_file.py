"""The report as a file: written by the service, read by commands that may not scan themselves."""

import json
from importlib import resources
from pathlib import Path
from typing import Any, cast

from ..errors import MountwardenError
from ..escape import json_text
from ..files import read_regular
from ..model import Severity
from ..observe import processes
from ..report import types
from ..state import run_directory

PATH = "/run/mountwarden/report.json"


def dumps(document: object) -> str:
    """JSON for users and programs alike: indented, printable UTF-8, one final newline."""
    return json_text(json.dumps(document, indent=2, ensure_ascii=False)) + "\n"


def compact(document: object) -> bytes:
    """The same in one line, as the service writes it twice a minute: json indents in Python, at ten times the cost."""
    return json_text(json.dumps(document, ensure_ascii=False)).encode() + b"\n"


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the report, as it ships."""
    text = (resources.files("mountwarden") / "data" / "report-2.schema.json").read_text("utf-8")
    return cast("dict[str, Any]", json.loads(text))


def write(report: types.ReportJson, path: str = PATH, limit: int = run_directory.LARGEST) -> int:
    """Replace the file at once: 0640, of the journal's group where the host has it.

    Returns how many findings are left out where the file would be larger than `limit` bytes; a gap in it says so too.

    Raises: OSError.
    """
    data, left_out = compact(report), 0
    findings = sorted(report["findings"], key=_weight)
    while len(data) > limit and findings:
        findings = findings[: min(len(findings) - 1, int(len(findings) * 0.9 * limit / len(data)))]
        left_out = len(report["findings"]) - len(findings)
        data = compact(_shortened(report, findings, left_out))
    run_directory.write(Path(path), data)
    return left_out


def _weight(finding: types.FindingJson) -> tuple[bool, bool, int]:
    """What matters most comes first."""
    return not finding["confirmed"], finding["silenced"], -Severity(finding["severity"]).rank


def _shortened(report: types.ReportJson, findings: list[types.FindingJson], left_out: int) -> types.ReportJson:
    kept = {finding["id"] for finding in findings}
    reason = f"the file would be too large: mountwarden report, as root, has these {left_out:,} findings too"
    gap = types.GapJson(what="report.json", namespace=None, reason=reason, count=left_out, owner=None)
    some = [finding for finding in report["findings"] if finding["id"] in kept]
    return {**report, "complete": False, "findings": some, "gaps": [*report["gaps"], gap]}


def read(path: str = PATH) -> types.ReportJson:
    """The stored report.

    Raises: NotRegular; TooLarge; OSError as open(2) does; MountwardenError when the document is not a report of a
    known schema.
    """
    text = read_regular(path, run_directory.LARGEST).data
    try:
        document = json.loads(text)
    except ValueError as error:
        raise MountwardenError(f"{path} is not JSON: {error}") from None
    if not isinstance(document, dict) or document.get("schema") != types.SCHEMA:
        raise MountwardenError(f"{path} is not a {types.SCHEMA}", hint="the agent and this command differ in version")
    return cast("types.ReportJson", document)


def agent_is_gone(report: types.ReportJson) -> bool:
    """Whether the process that wrote the report has ended."""
    return report["agent"] is None or not processes.is_alive(report["agent"]["pid"])
