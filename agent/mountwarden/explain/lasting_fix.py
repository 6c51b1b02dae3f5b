"""The change that removes a cause for good: its file, content and commands. Nothing here makes it. Pure."""

import re
from dataclasses import dataclass, replace

from ..escape import printable, unit_word
from ..model import Cause, Finding, Root
from .cause import (
    ENGINE,
    MOUNT_FLAGS,
    OTHER_GROUP,
    OWN_NAMESPACE,
    PRIVATE_BIND,
    ROOT_PRIVATE,
    SLAVE_NOT_EFFECTIVE,
)
from .context import Context, bind_above, container_of, source_of, system_service

_SKIP = '[storage.options.overlay]\nskip_mount_home = "true"\n'
_COUNTS = "/overlay-layers/mountpoints.json"
"""The first file of such a store's record, below its runroot."""
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9_./@:-]+")
_KUBERNETES = "in Kubernetes, mountPropagation: HostToContainer below the container's volumeMounts"


@dataclass(frozen=True, slots=True)
class Fix:
    """A change after which a cause leaves no copies behind any more."""

    text: str
    """What it is and does, in a sentence."""
    file: str | None = None
    """Where `content` belongs."""
    content: str | None = None
    commands: tuple[str, ...] = ()
    """To be run after that, in this order."""
    shared: bool = False
    """The file may hold other settings, and is not to be replaced."""

    def __str__(self) -> str:
        own = self.file is not None and not self.shared
        parts = [f"Write {self.file}:"] if own else [self.text]
        if self.shared:
            parts.append(f"{self.file}:")
        if self.content:
            parts.append(self.content.rstrip())
        if self.commands:
            parts.append("then run: " + " && ".join(self.commands))
        return "\n".join(parts)


def lasting_fix(cause: Cause, finding: Finding, around: Context) -> Fix | None:
    """The change after which this cause leaves no copies behind any more; None where none is known.

    What lives in a root's home, such as its engine, is left to start anew when its operator wants it to.
    """
    fix = _fix(cause, finding, around)
    if fix is None or not any(holder.at_home for holder in finding.holders):
        return fix
    left = tuple(command for command in fix.commands if not command.startswith("systemctl restart"))
    return replace(fix, commands=left)


def _fix(cause: Cause, finding: Finding, around: Context) -> Fix | None:
    if cause.code == MOUNT_FLAGS:
        return _unit_fix(finding, around)
    if cause.code in (PRIVATE_BIND, SLAVE_NOT_EFFECTIVE):
        return _container_fix(cause, finding, around)
    if cause.code in (ROOT_PRIVATE, OTHER_GROUP):
        return _root_fix(finding)
    if cause.code == ENGINE:
        return _storage_fix(finding)
    if cause.code == OWN_NAMESPACE:
        return Fix("Let the program make its mount namespace with slave propagation (unshare --propagation slave).")
    return None


def _unit_fix(finding: Finding, around: Context) -> Fix | None:
    service = system_service(finding)
    if not service or not unit_word(service):
        return None
    if around.unit and around.unit.transient:
        return Fix(f"Start {service} again without MountFlags=private; with MountFlags=slave umounts reach it.")
    return mount_flags_fix(service)


def mount_flags_fix(service: str) -> Fix | None:
    """The drop-in that lets umounts reach a service with MountFlags=private; None for a name that no command takes."""
    word = unit_word(service)
    if word is None:
        return None
    return Fix(
        f"Let umounts reach {service}: it keeps a mount namespace of its own, as a slave of the host's.",
        file=f"/etc/systemd/system/{service}.d/90-propagation.conf",
        content="[Service]\nMountFlags=slave\n",
        commands=("systemctl daemon-reload", f"systemctl restart {word}"),
    )


def _container_fix(cause: Cause, finding: Finding, around: Context) -> Fix | None:
    holder, bind = container_of(finding), bind_above(around.above)
    if not holder or not bind:
        return None
    if cause.code == SLAVE_NOT_EFFECTIVE:
        text = "See that the source of the bind is shared before the container starts, and that its runtime is current."
        return Fix(text)
    source = source_of(finding, around, bind)
    volume = f"{printable(source) if source else 'SOURCE'}:{printable(bind.point)}"
    readonly = "ro," if b"ro" in bind.options.split(b",") else ""
    return Fix(f"Create the container again with -v {volume}:{readonly}rslave ({_KUBERNETES}).")


def _root_fix(finding: Finding) -> Fix | None:
    if finding.root.wants_private:
        return _storage_fix(finding)
    root = printable(finding.root.path)
    return Fix(f"Keep {root} shared (remedy: share), and restart what started before that.")


def _storage_fix(finding: Finding) -> Fix:
    """A storage.conf replaces the defaults as a whole, so one that is made for this must name the store too."""
    text = "Let containers/storage keep its home as shared as what it lies on, and restart what started before that."
    places = _store(finding.root)
    if places is None:
        return Fix(f"{text} Which storage.conf is in use is not known here.", content=_SKIP)
    graph, run = places
    store = f'[storage]\ndriver = "overlay"\nrunroot = "{run}"\ngraphroot = "{graph}"\n\n'
    return Fix(
        f"{text} Where the file is there already, its last section is all that is to be added.",
        file="/etc/containers/storage.conf",
        content=store + _SKIP,
        shared=True,
    )


def _store(root: Root) -> tuple[str, str] | None:
    """graphroot and runroot of the host's own store; None for paths that TOML reads otherwise."""
    run = root.record[0].removesuffix(_COUNTS) if root.record and root.record[0].endswith(_COUNTS) else ""
    graph = printable(root.path)
    return (graph, run) if all(map(_PLAIN_PATH.fullmatch, (graph, run))) else None
