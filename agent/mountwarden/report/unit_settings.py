"""The directives that give a unit its mount namespace, each with the file and line that set it. Pure."""

from collections.abc import Sequence

from ..escape import unit_name
from ..explain.context import Context
from ..explain.setting_origin import origin
from ..model import Directive, UnitFacts, UnitFile
from .types import SettingJson


def settings(around: Context) -> list[SettingJson]:
    """Those of the service whose namespace it is; none where PID 1 did not answer."""
    unit = around.unit
    return [_setting(unit, around.files, directive) for directive in unit.directives] if unit else []


def _setting(unit: UnitFacts, files: Sequence[UnitFile], directive: Directive) -> SettingJson:
    found = origin(unit, files, directive)
    return {
        "unit": unit_name(unit.id),
        "name": directive.name,
        "value": unit_name(directive.value),
        "file": None if found.unknown else found.file,
        "line": None if found.unknown else found.line,
        "note": found.unknown or ("the file was changed after the unit started" if found.changed else None),
    }
