"""Which findings a command is about: --engine, --unit, --kind and --root, which must name what there is.

A filter that nothing can match would turn a slip of the pen into "nothing is wrong".
"""

import difflib
import os
from argparse import ArgumentTypeError, Namespace
from collections.abc import Iterable
from dataclasses import dataclass

from ..config.schema import ENGINES
from ..errors import MountwardenError
from ..escape import printable, unit_name
from ..observe import paths
from ..report import types
from ..systemd import known_units

_ENGINES = (*ENGINES, "custom")


@dataclass(frozen=True, slots=True)
class FindingFilter:
    """Findings that all of it matches; None matches any."""

    engine: str | None = None
    kind: str | None = None
    root: str | None = None
    """As reports write it."""
    units: frozenset[str] | None = None
    """Names of the one unit."""
    name: str = ""
    """What it is about, for a headline; empty where it is about everything."""

    def takes(self, finding: types.FindingJson) -> bool:
        """Whether a finding of a report is one of them."""
        return (
            self.engine in (None, finding["engine"])
            and self.kind in (None, finding["kind"])
            and self.root in (None, finding["root"])
            and (self.units is None or not self.units.isdisjoint(_units(finding)))
        )


def of_report(arguments: Namespace, report: types.ReportJson, *, here: bool = True) -> FindingFilter:
    """The filter that the options describe. `here`: the report is of this host, whose units and paths can be asked.

    Raises: MountwardenError where there is no such root or unit, with the nearest one.
    """
    units = set[str]().union(*map(_units, report["findings"]))
    return _filter(arguments, [root["path"] for root in report["roots"]], units, here=here)


def engine(text: str) -> str:
    """The type of --engine. Raises: ArgumentTypeError with the nearest engine."""
    if text.lower() in _ENGINES:
        return text.lower()
    near = difflib.get_close_matches(text.lower(), _ENGINES, 1)
    rest = f"did you mean {near[0]}?" if near else f"engines are {', '.join(_ENGINES)}"
    raise ArgumentTypeError(f"there is no engine {text!r}; {rest}")


def root(text: str) -> str:
    """The type of --root: absolute, without `.`, `..`, and slashes that mean nothing."""
    return "/" + os.path.normpath(os.path.abspath(text)).lstrip("/")


def _filter(arguments: Namespace, roots: list[str], units: set[str], *, here: bool) -> FindingFilter:
    directory = None if arguments.root is None else _root(arguments.root, roots, here=here)
    unit = None if arguments.unit is None else unit_name(arguments.unit)
    names = None if unit is None else _names(unit, units, here=here)
    words = [unit, directory, arguments.engine, f"kind {arguments.kind}" if arguments.kind else None]
    about = ", ".join(word for word in words if word)
    return FindingFilter(arguments.engine, arguments.kind, directory, names, about)


def _root(asked: str, roots: list[str], *, here: bool) -> str:
    """The root of that path, also through symbolic links. Raises: MountwardenError."""
    path = os.fsencode(asked)
    if printable(path) in roots:
        return printable(path)
    if here and (real := _real(path)) in roots:
        return real
    above = [known for known in roots if printable(path).startswith(f"{known}/")]
    near = sorted(above, key=len)[-1:] or difflib.get_close_matches(printable(path), roots, 1)
    hint = f"did you mean {near[0]}?" if near else "mountwarden report --json | jq -r '.roots[].path' lists the roots"
    raise MountwardenError(f"{printable(path)} is no root that is guarded", hint=hint)


def _real(path: bytes) -> str:
    try:
        return printable(paths.place(path).path)
    except OSError:
        return printable(path)


def _names(unit: str, held: set[str], *, here: bool) -> frozenset[str]:
    """The names of a unit that holds something, or that is on this host. Raises: MountwardenError."""
    if found := known_units.names_of(unit) if here else frozenset():
        return found
    if unit in held:
        return frozenset({unit})
    near = _nearest(unit, held | known_units.names() if here else held)
    where = "on this host" if here else "in the findings of the snapshot"
    hint = f"did you mean {near}?" if near else "systemctl list-units --all lists them" if here else None
    raise MountwardenError(f"there is no unit {unit} {where}", hint=hint)


def _nearest(unit: str, names: Iterable[str]) -> str | None:
    """The unit of the same type with the name that is most like it: by what differs, not by the suffix."""
    base, suffix = os.path.splitext(unit)
    near = difflib.get_close_matches(base, [name.removesuffix(suffix) for name in names if name.endswith(suffix)], 1)
    return unit_name(near[0] + suffix) if near else None


def _units(finding: types.FindingJson) -> set[str]:
    """Units that hold it, those of users' own systemd too."""
    found = {name for holder in types.holders(finding) for name in (holder["unit"], holder["user_unit"])}
    return {str(name) for name in found if name}
