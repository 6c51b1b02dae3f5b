"""A home whose layers come and go beside namespaces that come and go: random steps, and what is true after each.

What is true is read from /proc/PID/mountinfo by a few lines of its own. It runs as PID 1 of a pid namespace, see
`crash.in_few_processes`, so that nothing else on the machine takes part.
"""

import contextlib
import itertools
import os
import random
import select
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from mountwarden.kernel import abi, syscalls

from tests.kernel.topology import ROOT
from tests.support.scratch_ns import Namespace, Propagation, hold, overlay

LAYERS = 3
MOST_HOLDERS = 5
TRIES = 20


class Layer(NamedTuple):
    """An overlay of the root in one namespace."""

    namespace: int
    mount: int
    device: str
    root: bytes
    point: bytes
    upper: bytes

    @property
    def identity(self) -> tuple[str, bytes]:
        """(device, mnt_root)."""
        return self.device, self.root

    @property
    def spot(self) -> bytes:
        """Where home has that layer."""
        return os.path.dirname(self.upper) + b"/merged"


def read(pid: int) -> list[Layer]:
    """The overlays of the root that a process's namespace has."""
    inode = os.stat(f"/proc/{pid}/ns/mnt").st_ino
    with open(f"/proc/{pid}/mountinfo", "rb") as file:
        lines = [line.split(b" ") for line in file.read().splitlines()]
    found = []
    for line in lines:
        of = upper(line[-1])
        if of.startswith(ROOT + b"/") and line[line.index(b"-") + 1] == b"overlay":
            found.append(Layer(inode, int(line[0]), line[2].decode(), line[3], line[4], of))
    return found


def upper(options: bytes) -> bytes:
    """The upper directory of an overlay's options; of others, nothing."""
    return next((one.partition(b"=")[2] for one in options.split(b",") if one.startswith(b"upperdir=")), b"")


@dataclass
class Churn:
    """The caller's own namespace is home, whose `ROOT` is on a shared mount."""

    choose: random.Random
    spaces: list[list[Namespace]] = field(default_factory=list)
    """The processes of each further namespace."""
    now: list[Layer] = field(default_factory=list)
    """What the other namespaces have."""
    home: list[Layer] = field(default_factory=list)
    leaks: set[Layer] = field(default_factory=set)
    """What is leaked, or was at some time."""
    made: Counter[str] = field(default_factory=Counter)
    """How often each step did something."""
    serials: dict[tuple[str, bytes], int] = field(default_factory=dict)
    """By (device, upper directory): which superblock it is, of those that had that number one after the other."""
    _next: Iterator[int] = field(default_factory=itertools.count)
    _held: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __post_init__(self) -> None:
        self._poll = select.poll()
        mounts = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self._held.callback(os.close, mounts)
        self._poll.register(mounts, select.POLLPRI)
        self.home_has_changed()
        self.look()

    def home_has_changed(self) -> bool:
        """Whether home's mounts changed since this was asked last, as poll(2) says it: the same may be there again."""
        return bool(self._poll.poll(0))

    def step(self) -> str:
        """One step. What can't be done now, such as an umount of what is not mounted, is passed over."""
        for _ in range(TRIES):
            (name,) = self.choose.choices(list(STEPS), list(STEPS.values()))
            with contextlib.suppress(OSError):
                if getattr(self, name)() is not False:
                    self.made[name] += 1
                    break
        self.look()
        return name

    def look(self) -> None:
        """Note what is true now."""
        self.home = read(os.getpid())
        self.now = [layer for space in self.spaces for layer in read(space[0].pid)]
        every = {(layer.device, layer.upper) for layer in (*self.home, *self.now)}
        self.serials = {one: self.serials.get(one, -1) for one in every}
        self.serials |= {one: next(self._next) for one, serial in self.serials.items() if serial < 0}
        self.leaks |= self.leaked

    @property
    def leaked(self) -> set[Layer]:
        """What another namespace has and home has not."""
        at_home = {layer.identity for layer in self.home}
        return {layer for layer in self.now if layer.identity not in at_home}

    @property
    def on_spots(self) -> set[int]:
        """Which superblocks home has where their layers belong."""
        return {self.serial(layer) for layer in self.home if layer.point == layer.spot}

    def serial(self, layer: Layer) -> int:
        """Which superblock it is a mount of."""
        return self.serials[layer.device, layer.upper]

    def close(self) -> None:
        """End all processes."""
        for process in (process for space in self.spaces for process in space):
            process.kill()
        self._held.close()

    # The steps

    def _base(self) -> bytes:
        return b"%b/l%d" % (ROOT, self.choose.randrange(LAYERS))

    def _space(self) -> Namespace:
        """A process of one of the other namespaces."""
        if not self.spaces:
            raise ProcessLookupError
        return self.choose.choice(self.spaces)[0]

    def mount(self) -> bool:
        """A layer, on its mountpoint."""
        base = self._base()
        if os.path.ismount(base + b"/merged"):
            return False
        overlay(base)
        return True

    def umount(self) -> None:
        """At home."""
        syscalls.umount(self._base() + b"/merged")

    def detach(self) -> None:
        """The same, lazily."""
        syscalls.umount(self._base() + b"/merged", abi.MNT_DETACH)

    def renew(self) -> None:
        """The same layer or another is mounted at once: often with the same device number."""
        self.umount()
        self.look()
        self.mount()

    def bind_at_home(self) -> None:
        """The layer has another place at home, and in what home's mounts propagate to."""
        _bind(self._base(), b"/mnt/home%d" % self.choose.randrange(2))

    def unbind_at_home(self) -> None:
        syscalls.umount(b"/mnt/home%d" % self.choose.randrange(2))

    def hold(self) -> bool:
        """A new namespace: a copy of home, or of another one."""
        if len(self.spaces) == MOST_HOLDERS:
            return False
        kind: Propagation = self.choose.choice(["slave", "private"])
        within = self._space() if self.spaces and self.choose.random() < 0.5 else None
        base = self._base() + b"/merged"
        cwd = base if within is None and self.choose.random() < 0.3 and os.path.ismount(base) else None
        self.spaces.append([self._held.enter_context(hold(within, propagation=kind, cwd=cwd))])
        return True

    def end(self) -> None:
        """A namespace ends with all its processes."""
        self._space()
        for process in self.spaces.pop(self.choose.randrange(len(self.spaces))):
            process.kill()

    def enter(self) -> None:
        """A further process enters a namespace."""
        self._space()
        space = self.choose.choice(self.spaces)
        space.append(_entered(space[0].pid))

    def leave(self) -> bool:
        """The first process of a namespace ends, and others stay."""
        shared = [space for space in self.spaces if len(space) > 1]
        if shared:
            self.choose.choice(shared).pop(0).kill()
        return bool(shared)

    def bind(self) -> None:
        """A namespace has a layer in another place."""
        base, place = self._base(), b"/mnt/bound%d" % self.choose.randrange(2)
        self._space().run(_bind, base, place)

    def unbind(self) -> None:
        self._space().run(syscalls.umount, b"/mnt/bound%d" % self.choose.randrange(2))

    def umount_there(self) -> None:
        """A namespace gives up its own copy."""
        self._space().run(syscalls.umount, self._base() + b"/merged")

    def cut_off(self) -> None:
        """Home's umounts do not reach a namespace from now on."""
        self._space().run(syscalls.mount, None, b"/", None, abi.MS_REC | abi.MS_PRIVATE)

    def other(self) -> None:
        """A namespace mounts an overlay of no root, which takes the next device number."""
        base = b"/mnt/other%d" % self.choose.randrange(3)
        self._space().run(lambda: None if os.path.ismount(base + b"/merged") else overlay(base))

    def end_other(self) -> None:
        self._space().run(syscalls.umount, b"/mnt/other%d/merged" % self.choose.randrange(3))


def _bind(base: bytes, place: bytes) -> None:
    os.makedirs(place, exist_ok=True)
    if os.path.ismount(place) or not os.path.ismount(base + b"/merged"):
        raise FileExistsError
    syscalls.mount(base + b"/merged", place, None, abi.MS_BIND)


def _entered(pid: int) -> Namespace:
    """A process that has entered the namespace of another, and sleeps."""
    ready, tell = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            syscalls.die_with_parent(signal.SIGKILL)
            fd = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
            syscalls.setns(fd, abi.CLONE_NEWNS)
            os.closerange(3, tell)
            os.write(tell, b"x")
            os.closerange(tell, os.sysconf("SC_OPEN_MAX"))
            while True:
                signal.pause()
        os._exit(1)
    os.close(tell)
    os.read(ready, 1)
    os.close(ready)
    return Namespace(child)


STEPS = {
    "mount": 5, "umount": 4, "detach": 1, "renew": 3, "bind_at_home": 1, "unbind_at_home": 1,
    "hold": 5, "end": 3, "enter": 1, "leave": 1, "bind": 6, "unbind": 1, "umount_there": 4, "cut_off": 1,
    "other": 1, "end_other": 1,
}  # fmt: skip
"""The steps, and how often each is taken."""
