"""Other names for all names of a snapshot, made with a salt that is thrown away: equal names stay equal within it.

What the rules of judge/ read keeps its meaning: the literal components of layouts, the types of units, the ids of
kernel objects. Names that every host has (`var`, `lib`, `docker`) disclose nothing and stay, for readability.
"""

import hashlib
import re
import secrets
from dataclasses import replace
from typing import Any

from ..config.schema import ENGINES
from ..errors import MountwardenError
from ..judge import judge
from ..model import RUNTIME_INIT, Finding
from .contents import Snapshot
from .redact import PATHS, SOURCES
from .rewrite import replaced

COMMON = frozenset(
    b"bin boot dev etc home lib lib64 mnt opt proc root run sbin srv sys tmp usr var local share cache log ns net "
    b"docker containers storage containerd kubelet crio libpod podman systemd system user transient private netns "
    b"overlay overlay2 overlay-layers overlay-containers overlay-images merged diff work lower upper mounts shm l "
    b"image layerdb volumes _data pods plugins globalmount rootfs io.containerd.runtime.v2.task snapshots fs moby "
    b"io.containerd.snapshotter.v1.overlayfs k8s.io default mountpoints.json layers.json kubernetes.io csi pv "
    b"buildkit executor cachemounts tmpmounts ipcns userns utsns incus lxd nerdctl storage-pools devices k0s".split()
)
"""Components of paths that stay: the names of the file system hierarchy (hier(7)) and of engines' own directories."""

_HEX = re.compile(r"[0-9a-f]{64}")
_OBJECT = re.compile(r"[a-z_]+:\[[0-9]+\]")
_UNIT = re.compile(r"(?s)(.*)(\.(?:service|scope|slice|socket|mount|swap|timer|path|target|device))(\.d)?")
_USER = re.compile(r"user@[0-9]+|session-[0-9]+|user-[0-9]+|init|system|user|-")
_RUNTIME_PREFIX = re.compile(r"(docker|libpod|libpod-conmon|cri-containerd|crio|crio-conmon|nerdctl|machine)-")
_KNOWN_UNIT = re.compile(r"(docker|containerd|podman|crio|kubelet|buildkit|incus|lxd|k3s|systemd-[a-z]+|dbus)")
_COMMON_COMM = re.compile(
    r"dockerd|containerd|containerd-shim.*|podman|conmon|crio|kubelet|kubelite|k3s(-server|-agent)?|buildkitd|incusd|lxd|"
    r"systemd|systemd-[a-z]+"
)
_WORD = re.compile(r"[a-z]{1,8}|-?[0-9]{1,2}|read-only|")
_ERROR = re.compile(r"(\[Errno [0-9]+\] |E[A-Z0-9]+: )?[A-Z][A-Za-z ]*( \([a-z ]+\))?")
_LEFT_OUT = "left out of an anonymous snapshot"


def anonymous(snapshot: Snapshot, salt: bytes | None = None) -> Snapshot:
    """The snapshot with other names. Raises: MountwardenError where its findings would then be others."""
    names = _Names(salt or secrets.token_bytes(32), _literals(snapshot))
    made = replace(replaced(snapshot, names.replaced), anonymous=True, version=snapshot.version)
    return _renamed_findings(snapshot, made)


def _literals(snapshot: Snapshot) -> frozenset[bytes]:
    patterns = [layout.pattern for state in snapshot.picture.roots for layout in state.root.layout]
    patterns += [pattern for entry in snapshot.entries for pattern in entry.layout]
    return frozenset(part for pattern in patterns for part in pattern.split(b"/"))


def _told(finding: Finding) -> tuple[object, ...]:
    """What a finding says, but for names."""
    return finding.kind, finding.severity, finding.evidence, [copy.reach for copy in finding.copies]


def _renamed_findings(before: Snapshot, after: Snapshot) -> Snapshot:
    """What is stored under a finding's id, under its new id: an id is made from names."""
    old, new = (judge(one.picture, one.answers).findings for one in (before, after))
    if list(map(_told, old)) != list(map(_told, new)):
        raise MountwardenError("with other names its findings would be different")
    ids = dict(zip((f.id for f in old), (f.id for f in new), strict=True))
    return replace(
        after,
        told={ids[key]: told for key, told in before.told.items() if key in ids},
        circumstances={ids[key]: after.circumstances[key] for key in before.circumstances if key in ids},
    )


class _Names:
    def __init__(self, salt: bytes, literals: frozenset[bytes]) -> None:
        self._salt = salt
        self._kept = COMMON | literals
        self._known: dict[bytes, str] = {}

    def replaced(self, owner: str, name: str, text: Any) -> Any:
        """The replacement of the text of that field."""
        if isinstance(text, bytes):
            return self._of_bytes(owner, name, text)
        return self._of_text(owner, name, text)

    def _of_bytes(self, owner: str, name: str, text: bytes) -> bytes:
        if (owner, name) in _KEPT_BYTES:
            return text
        if owner == "Mount" and name in ("options", "super_options"):
            return b",".join(map(self._option, text.split(b",")))
        if (owner, name) == ("Mount", "source") and text in SOURCES:
            return text
        if (owner, name) == ("Assignment", "value"):
            return self._value(text.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        return self.path(text)

    def _of_text(self, owner: str, name: str, text: str) -> str:
        rule = _RULES.get((owner, name))
        return rule(self, text) if rule else text

    def _token(self, text: bytes) -> str:
        if text not in self._known:
            self._known[text] = hashlib.blake2b(text, key=self._salt, digest_size=32).hexdigest()
        return self._known[text]

    def path(self, text: bytes) -> bytes:
        """A path, component by component."""
        parts = text.split(b"/")
        return b"/".join(self._component(part, last) for part, last in zip(parts, [b"x", *parts], strict=False))

    def _component(self, part: bytes, before: bytes) -> bytes:
        text = part.decode("utf-8", "surrogateescape")
        if part in self._kept or part in (b"", b".", b"..", b"*") or _OBJECT.fullmatch(text):
            return part
        if part == b"deleted" and before == b"":
            return part  # "//deleted", as the kernel marks a root that is gone
        if _HEX.fullmatch(text):
            return self.container(text).encode()
        return self.unit(text).encode() if _UNIT.fullmatch(text) else b"x" + self._token(part)[:12].encode()

    def _option(self, option: bytes) -> bytes:
        key, equals, value = option.partition(b"=")
        if key not in PATHS:
            return option
        return key + equals + b":".join(map(self.path, value.split(b":")))

    def _owner(self, text: str) -> str:
        """A user's number stays."""
        what, _space, name = text.partition(" ")
        return f"{what} {self.container(name)}" if what == "container" else text

    def container(self, text: str) -> str:
        """An id of 64 hexadecimal digits stays one."""
        return self._token(text.encode()) if _HEX.fullmatch(text) else self._short("c", text)

    def unit(self, text: str) -> str:
        """A unit keeps its type, the runtime's prefix, and where it is a user's, that."""
        match = _UNIT.fullmatch(text)
        if match is None:
            return self._short("x", text)
        stem, kind, drop_ins = match.groups(default="")
        if _USER.fullmatch(stem) or _KNOWN_UNIT.fullmatch(stem):
            return text
        prefix = _RUNTIME_PREFIX.match(stem)
        rest = stem[prefix.end() :] if prefix else stem
        named = self.container(rest) if _HEX.fullmatch(rest) else self._short("u", rest)
        return f"{prefix[0] if prefix else ''}{named}{kind}{drop_ins}"

    def comm(self, text: str) -> str:
        """A process's name; a runtime's and an engine's stay."""
        if RUNTIME_INIT.fullmatch(text) or _COMMON_COMM.fullmatch(text):
            return text
        return self._short("p", text)

    def _short(self, letter: str, text: str) -> str:
        return letter + self._token(text.encode("utf-8", "surrogateescape"))[:12]

    def _name(self, text: str) -> str:
        return self._short("h", text)

    def _command(self, text: str) -> str:
        """What it does stays, whom it is for does not."""
        *verb, name = text.split(" ")
        return " ".join((*verb, self._name(name)))

    def _path_text(self, text: str) -> str:
        return self.path(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")

    def _value(self, text: str) -> str:
        return text if _WORD.fullmatch(text) else self._name(text)

    def _how(self, text: str) -> str:
        if text.startswith("mount "):
            return "mount " + self._path_text(text.removeprefix("mount "))
        return text if re.fullmatch(r"[a-z]+[0-9]*( [0-9]+)?|loop device /dev/loop[0-9]+", text) else _LEFT_OUT

    def _reason(self, text: str) -> str:
        return text if _ERROR.fullmatch(text) else _LEFT_OUT

    def _what(self, text: str) -> str:
        known = re.fullmatch(r"[A-Za-z0-9' ]+", text) or text in {f"roots of {engine}" for engine in ENGINES}
        return text if known else _LEFT_OUT

    def _proof(self, text: str) -> str:
        return _LEFT_OUT if text else ""

    def _fstype(self, text: str) -> str:
        kind, dot, subtype = text.partition(".")
        return f"{kind}.{self._name(subtype)}" if dot else text


_KEPT_BYTES = frozenset((("Layout", "pattern"), ("RootEntry", "layout"), ("Assignment", "section")))

_RULES: dict[tuple[str, str], Any] = {
    ("Snapshot", "hostname"): _Names._name,
    ("Picture", "boot_id"): _Names._name,
    ("Root", "record"): _Names._path_text,
    ("Holder", "unit"): _Names.unit,
    ("Holder", "user_unit"): _Names.unit,
    ("Holder", "container"): _Names.container,
    ("Holder", "comm"): _Names.comm,
    ("Use", "comm"): _Names.comm,
    ("Use", "how"): _Names._how,
    ("Occupant", "how"): _Names._how,
    ("UnitFacts", "id"): _Names.unit,
    ("Directive", "value"): _Names._value,
    ("PolicyEntry", "unit"): _Names.unit,
    ("Owner", "container"): _Names.container,
    ("Gap", "owner"): _Names._owner,
    ("Gap", "reason"): _Names._reason,
    ("Gap", "what"): _Names._what,
    ("Mount", "fstype"): _Names._fstype,
    ("Kept", "fstype"): _Names._fstype,
    ("GivenQuestion", "fstype"): _Names._fstype,
    ("Given", "by"): _Names._name,
    ("Ownership", "proof"): _Names._proof,
    ("Ownership", "frees"): _Names._proof,
    ("Given", "stop"): _Names._command,
}
"""Texts that hold names, by class and field; every other text is one of a fixed set, or a number."""
