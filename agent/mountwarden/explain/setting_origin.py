"""Where a directive of a unit is set: the file and line, or why that is not known. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..escape import printable
from ..model import Directive, UnitFacts, UnitFile
from ..systemd.unit_syntax import locate

RELOAD = "its files have changed since systemd read them"
NOWHERE = "no file of the unit sets it"
TRANSIENT = "set when it was started as a transient unit"

_TRANSIENT_UNITS = b"/run/systemd/transient/"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a directive is set, as far as the unit's files show."""

    file: str | None = None
    """The file that sets it, printable; None where none does."""
    line: int | None = None
    changed: bool = False
    """The file was written after the unit started."""
    unknown: str | None = None
    """Why the value in effect does not come from that line: `RELOAD`, `NOWHERE` or `TRANSIENT`; None where it does."""

    @property
    def place(self) -> str | None:
        """The same in a sentence; None where it is not known."""
        if self.unknown is not None:
            return TRANSIENT if self.unknown == TRANSIENT else None
        return f"{self.file}:{self.line}"


def origin(unit: UnitFacts, files: Sequence[UnitFile], directive: Directive) -> Origin:
    """Where a directive of a unit is set. `files` are its fragment and drop-ins, in the order in which they apply."""
    reload = RELOAD if unit.needs_reload else None
    found = locate(files, directive.name, directive.value)
    if found is None:
        return Origin(unknown=reload or NOWHERE)
    file, line = found
    changed = unit.started is not None and file.modified > unit.started
    transient = TRANSIENT if file.path.startswith(_TRANSIENT_UNITS) else None
    return Origin(printable(file.path), line, changed, reload or transient)
