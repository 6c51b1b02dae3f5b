"""The directives that give a unit its mount namespace, each with the file and line that set it. Pure."""

from ..escape import printable, unit_name
from ..explain.context import Context
from ..model import Directive
from ..systemd.unit_syntax import locate
from .types import SettingJson

TRANSIENT = b"/run/systemd/transient/"


def settings(around: Context) -> list[SettingJson]:
    """Those of the service whose namespace it is; none where PID 1 did not answer."""
    return [_setting(around, directive) for directive in around.unit.directives] if around.unit else []


def _setting(around: Context, directive: Directive) -> SettingJson:
    assert around.unit
    found = locate(around.files, directive.name, directive.value)
    told: SettingJson = {
        "unit": unit_name(around.unit.id),
        "name": directive.name,
        "value": unit_name(directive.value),
        "file": None,
        "line": None,
        "note": None,
    }
    if around.unit.needs_reload:
        return {**told, "note": "its files have changed since systemd read them"}
    if found is None:
        return {**told, "note": "no file of the unit sets it"}
    file, line = found
    if file.path.startswith(TRANSIENT):
        return {**told, "note": "set when it was started as a transient unit"}
    changed = around.unit.started is not None and file.modified > around.unit.started
    note = "the file was changed after the unit started" if changed else None
    return {**told, "file": printable(file.path), "line": line, "note": note}
