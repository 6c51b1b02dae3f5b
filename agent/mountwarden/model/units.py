"""What PID 1 and the unit files say of a unit."""

from dataclasses import dataclass

MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
"""Values of MountFlags=, as in mount(2)."""


@dataclass(frozen=True, slots=True)
class Directive:
    """A setting that is in effect, as a unit file would write it."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class UnitFacts:
    """What PID 1 knows of a unit. A property that is missing, or of another type than expected, counts as not set."""

    id: str
    loaded: bool = True
    fragment: bytes | None = None
    drop_ins: tuple[bytes, ...] = ()
    """In the order in which they apply."""
    transient: bool = False
    started: float | None = None
    """Seconds since the Epoch at which its main process, else the unit itself, started."""
    main_pid: int = 0
    mount_flags: int = 0
    directives: tuple[Directive, ...] = ()
    """Those that give the unit a mount namespace."""
    perhaps: bool = False
    """It has other directives that give it one in some versions of systemd."""
    needs_reload: bool = False
    """Its files have changed since PID 1 read them."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """One `Key=value` of a unit file, with the number of the line on which it begins."""

    section: bytes
    key: str
    value: bytes
    line: int


@dataclass(frozen=True, slots=True)
class UnitFile:
    """A fragment or a drop-in."""

    path: bytes
    assignments: tuple[Assignment, ...]
    modified: float = 0.0
    """Seconds since the Epoch at which it was last written."""
