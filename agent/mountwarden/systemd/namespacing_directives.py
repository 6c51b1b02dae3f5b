"""The directives of systemd.exec(5) that give a unit a mount namespace of its own, and the values that do not.

By exec_needs_mount_namespace() of systemd's src/core/execute.c, read in 247, 252, 257 and 262; older versions know
fewer of them. What makes none by itself is not here, though systemd applies it in a namespace that others make
(LoadCredential=, ProtectHostname=, RootImageOptions=, …); nor is what makes another kind of namespace (PrivateUsers=).
"""

from dataclasses import dataclass
from typing import Any

_FALSE = frozenset({"0", "no", "n", "false", "f", "off"})
"""parse_boolean() of systemd, which ignores case."""
_UNSET = frozenset({"", "[not set]", "[unprintable]"})
"""An empty assignment; and what systemctl show writes for no value, or for one that it can't print."""


@dataclass(frozen=True, slots=True)
class Neutral:
    """The values of a directive that make no namespace."""

    dbus: tuple[Any, ...]
    """As PID 1 gives them, in every type that a version has for them; none where a property is read otherwise."""
    written: frozenset[str] = frozenset()
    """As a unit file has them, in lower case; nothing at all is always one."""


BOOLEAN = Neutral((False,), _FALSE)
CHOICE = Neutral((False, "no"), _FALSE)
"""A boolean up to 256; from 257 on there is a second property that is text."""
MODE = Neutral(("no",), _FALSE)
NAME = Neutral(("",))
ROOT = Neutral(("", "/"), frozenset({"/"}))
LIST = Neutral(([],))
"""Assignments add up, an empty one resets the list."""
FLAGS = Neutral((), frozenset({"shared"}))
"""The bits of mount(2) on D-Bus."""

_NEEDS = "exec_needs_mount_namespace()"
_DIRECTORIES = ("RuntimeDirectory", "StateDirectory", "CacheDirectory", "LogsDirectory", "ConfigurationDirectory")
_NETWORK = f"{_NEEDS}, from 254 on, if not with PrivateMounts=no"
_READ_ONLY = f"{_NEEDS}, from 257 on; without the mark beside RootDirectory= or DynamicUser="


@dataclass(frozen=True, slots=True)
class NamespacingDirective:
    """A directive that can give a unit a mount namespace."""

    name: str
    neutral: Neutral
    always: bool = True
    """Any other value does, in each version that knows it; else in some versions only, or beside other directives."""
    source: str = _NEEDS
    """Where systemd says so, and when, where that is not always."""
    mark: str = ""
    """Only a value with an item that ends in this makes one. On D-Bus such an item has flags."""

    def written(self, value: str) -> bool:
        """Whether a value in a unit file, or in what systemctl show prints, makes one."""
        plain = value.lower() in self.neutral.written | _UNSET
        return not plain and any(item.endswith(self.mark) for item in value.split())


TABLE = (
    NamespacingDirective("DynamicUser", BOOLEAN, source="unit_patch_contexts(): implies ProtectSystem=strict"),
    NamespacingDirective("PrivateTmp", CHOICE),
    NamespacingDirective("PrivateDevices", BOOLEAN),
    NamespacingDirective("PrivateMounts", BOOLEAN),
    NamespacingDirective("ProtectSystem", MODE),
    NamespacingDirective("ProtectHome", MODE),
    NamespacingDirective("ProtectKernelTunables", BOOLEAN),
    NamespacingDirective("ProtectKernelModules", BOOLEAN),
    NamespacingDirective("ProtectKernelLogs", BOOLEAN),
    NamespacingDirective("ProtectControlGroups", CHOICE),
    NamespacingDirective("ProtectProc", Neutral(("default",), frozenset({"default"}))),
    NamespacingDirective("ProcSubset", Neutral(("all",), frozenset({"all"}))),
    NamespacingDirective("PrivateIPC", BOOLEAN),
    NamespacingDirective("PrivatePIDs", MODE),
    NamespacingDirective("PrivateBPF", MODE),
    NamespacingDirective("LogNamespace", NAME),
    NamespacingDirective("IPCNamespacePath", NAME),
    NamespacingDirective("RootImage", NAME),
    NamespacingDirective("RootMStack", NAME),
    NamespacingDirective("ReadWritePaths", LIST),
    NamespacingDirective("ReadOnlyPaths", LIST),
    NamespacingDirective("InaccessiblePaths", LIST),
    NamespacingDirective("ReadWriteDirectories", LIST, source=f"{_NEEDS}: the name of ReadWritePaths= up to 230"),
    NamespacingDirective("ReadOnlyDirectories", LIST, source=f"{_NEEDS}: the name of ReadOnlyPaths= up to 230"),
    NamespacingDirective("InaccessibleDirectories", LIST, source=f"{_NEEDS}: that of InaccessiblePaths= up to 230"),
    NamespacingDirective("ExecPaths", LIST),
    NamespacingDirective("NoExecPaths", LIST),
    NamespacingDirective("BindPaths", LIST),
    NamespacingDirective("BindReadOnlyPaths", LIST),
    NamespacingDirective("TemporaryFileSystem", LIST),
    NamespacingDirective("MountImages", LIST),
    NamespacingDirective("ExtensionImages", LIST),
    NamespacingDirective("ExtensionDirectories", LIST),
    NamespacingDirective("MountFlags", FLAGS),
    NamespacingDirective("RootDirectory", ROOT, False, f"{_NEEDS}, if not with MountAPIVFS=no"),
    NamespacingDirective("MountAPIVFS", BOOLEAN, False, f"{_NEEDS}, beside RootDirectory=; alone from 257 on"),
    NamespacingDirective("BindLogSockets", BOOLEAN, False, f"{_NEEDS}; PID 1 says yes, too, where others imply it"),
    NamespacingDirective("PrivateNetwork", BOOLEAN, False, _NETWORK),
    NamespacingDirective("NetworkNamespacePath", NAME, False, _NETWORK),
    *(NamespacingDirective(name, LIST, False, _READ_ONLY, ":ro") for name in _DIRECTORIES),
)

_BY_NAME = {row.name: row for row in TABLE}


def setting(line: str) -> str | None:
    """The setting of a line of a unit file, or of systemctl show, if it can make a mount namespace.

    By that line alone: others may reset it.
    """
    name, sign, value = (part.strip() for part in line.partition("="))
    row = _BY_NAME.get(name)
    return f"{name}={value}" if sign and row and row.written(value) else None
