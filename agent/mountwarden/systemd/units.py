"""The only importer of pystemd, and what PID 1 reports of a unit.

pystemd's calls block and hold the GIL, so questions are asked in a forked child with a deadline, which answers with
plain facts. Signals are received without a child: see `jobs`.
"""

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from ..errors import NoAnswer
from ..kernel import child
from ..model import MS_PRIVATE, MS_SLAVE, Directive, Gap, UnitFacts
from .namespacing_directives import TABLE, NamespacingDirective

DEADLINE = 3.0
"""Seconds for one child, however many units it is asked about."""

_PRIVATE_SOCKET = "/run/systemd/private"
_SYSTEMD = b"org.freedesktop.systemd1"
_TYPES = {"service": b"Service", "socket": b"Socket", "mount": b"Mount", "swap": b"Swap", "scope": b"Scope"}


def library(name: str) -> Any:
    """A module of pystemd: "dbuslib", "journal".

    The package's own text imports all its interfaces and lxml, 6 MiB that nothing here uses; so it is left out, and an
    empty module with its path stands for it. Where a module does not work so, all of it is imported after all.

    Raises: ImportError.
    """
    spared = _spare_the_package()
    try:
        return importlib.import_module(f"pystemd.{name}")
    except Exception:
        if not spared:
            raise
        for module in [one for one in sys.modules if one.partition(".")[0] == "pystemd"]:
            del sys.modules[module]
        return importlib.import_module(f"pystemd.{name}")


def _spare_the_package() -> bool:
    """Whether the empty module was put there now."""
    if "pystemd" in sys.modules or (spec := importlib.util.find_spec("pystemd")) is None:
        return False
    sys.modules["pystemd"] = importlib.util.module_from_spec(spec)
    return True


Call = Callable[[bytes, bytes], Mapping[bytes, Any]]
"""(unit, interface) to all its properties, as GetAll of org.freedesktop.DBus.Properties answers."""


def unit_facts(unit: str) -> UnitFacts | Gap:
    """Ask PID 1 about one unit; a gap says why there is no answer."""
    return units_facts((unit,))[unit]


def units_facts(units: Collection[str]) -> dict[str, UnitFacts | Gap]:
    """Ask PID 1 about units, all in one child. Nothing is raised: no pystemd, no systemd, no answer are gaps."""
    if not units:
        return {}
    try:
        return child.ask(lambda: _ask_all(_open(), units), deadline=DEADLINE, what="the child that asks PID 1")
    except (NoAnswer, OSError) as error:
        return {unit: _gap(unit, str(error)) for unit in units}


def service_properties(service: str) -> Mapping[bytes, Any] | None:
    """All properties that PID 1 has of a service, as D-Bus types them; None where it does not answer in time."""
    question = partial(_properties, service)
    try:
        return child.ask(question, deadline=DEADLINE, what="the child that asks PID 1")
    except Exception:  # pystemd makes a class of its own of each D-Bus error
        return None


def _properties(service: str) -> Mapping[bytes, Any]:
    return dict(_open()(os.fsencode(service), b"Service"))


def _gap(unit: str, reason: str) -> Gap:
    return Gap(f"the settings of {unit}", reason)


def _open() -> Call:
    """In the child: connect to PID 1 itself as root, else through the system bus. Raises: NoAnswer."""
    try:
        dbus = library("dbuslib")
        direct = os.geteuid() == 0 and os.path.exists(_PRIVATE_SOCKET)
        bus = dbus.DBusAddress(b"unix:path=" + _PRIVATE_SOCKET.encode(), True) if direct else dbus.DBus()
        bus.open()
    except ImportError as error:
        raise NoAnswer(f"pystemd can't be imported: {error}") from None
    except Exception as error:  # pystemd makes a class of its own of each D-Bus error
        raise NoAnswer(f"no connection to PID 1: {error}") from None

    def call(unit: bytes, interface: bytes) -> Mapping[bytes, Any]:
        path = dbus.path_encode(b"/org/freedesktop/systemd1/unit", unit)
        properties = b"org.freedesktop.DBus.Properties"
        body = bus.call_method(_SYSTEMD, path, properties, b"GetAll", [(ord("s"), _SYSTEMD + b"." + interface)]).body
        return body if isinstance(body, dict) else {}

    return call


def _ask_all(call: Call, units: Collection[str]) -> dict[str, UnitFacts | Gap]:
    return {unit: _ask(call, unit) for unit in units}


def _ask(call: Call, unit: str) -> UnitFacts | Gap:
    interface = _TYPES.get(unit.rpartition(".")[2])
    try:
        properties = dict(call(os.fsencode(unit), b"Unit"))
        if interface:
            properties |= call(os.fsencode(unit), interface)
        return facts(unit, properties)
    except Exception as error:
        return _gap(unit, f"PID 1 answered: {error}")


def facts(unit: str, properties: Mapping[bytes, Any]) -> UnitFacts:
    """Read the properties of a unit, as PID 1 of any version from 219 on names and types them. Pure."""
    values = {os.fsdecode(key): _text(value) for key, value in properties.items() if isinstance(key, bytes)}
    flags = _typed(values, "MountFlags", int, 0)
    times = (_typed(values, key, int, 0) for key in ("ExecMainStartTimestamp", "ActiveEnterTimestamp"))
    started = next((micros / 1e6 for micros in times if micros), None)
    fragment = _typed(values, "FragmentPath", str, "")
    drop_ins = _typed(values, "DropInPaths", list, [])
    return UnitFacts(
        id=_typed(values, "Id", str, unit) or unit,
        loaded=values.get("LoadState") == "loaded",
        fragment=os.fsencode(fragment) or None,
        drop_ins=tuple(os.fsencode(path) for path in drop_ins if isinstance(path, str)),
        transient=_typed(values, "Transient", bool, False),
        started=started,
        main_pid=_typed(values, "MainPID", int, 0),
        mount_flags=flags,
        directives=(*_mount_flags(flags), *_directives(values)),
        perhaps=any(_in_effect(values, row) is not None for row in TABLE if not row.always),
        needs_reload=_typed(values, "NeedDaemonReload", bool, False),
    )


def _typed(values: Mapping[str, Any], key: str, kind: type, default: Any) -> Any:
    value = values.get(key, default)
    return value if type(value) is kind else default


def _mount_flags(flags: int) -> tuple[Directive, ...]:
    name = {MS_PRIVATE: "private", MS_SLAVE: "slave"}.get(flags & (MS_PRIVATE | MS_SLAVE))
    return (Directive("MountFlags", name),) if name else ()


def _directives(values: Mapping[str, Any]) -> tuple[Directive, ...]:
    found = ((row.name, _in_effect(values, row)) for row in TABLE if row.always)
    return tuple(Directive(name, _written(value)) for name, value in found if value is not None)


def _in_effect(values: Mapping[str, Any], row: NamespacingDirective) -> Any:
    """The value of a directive, None where it makes no mount namespace or has not the expected type.

    From systemd 257 on a property with more than two values has a second one, named …Ex, that is text.
    """
    value = _flagged(values, row.name) if row.mark else values.get(f"{row.name}Ex", values.get(row.name))
    expected = any(type(value) is type(plain) for plain in row.neutral.dbus)
    return value if expected and value not in row.neutral.dbus else None


def _flagged(values: Mapping[str, Any], name: str) -> list[Any]:
    """The items of a list of directories that have flags, of (path, link, flags); the one flag that there is is ro."""
    return [item for item in _typed(values, f"{name}Symlink", list, []) if isinstance(item, tuple) and any(item[2:])]


def _written(value: Any) -> str:
    if value is True or value == "connected":  # PrivateTmp=yes, as 257 calls it
        return "yes"
    if isinstance(value, list):
        first = [str(item[0]) if isinstance(item, tuple) and item else str(item) for item in value]
        return " ".join(first[:3]) + (" …" if len(first) > 3 else "")
    return str(value)


def _text(value: Any) -> Any:
    """D-Bus strings come as bytes."""
    if isinstance(value, bytes):
        return os.fsdecode(value)
    if isinstance(value, list | tuple):
        return type(value)(_text(item) for item in value)
    return value
