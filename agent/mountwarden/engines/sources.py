"""What engines' modules may ask of the host: running daemons, their files, and directories as each daemon sees them."""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

from ..errors import MountwardenError
from ..model import Gap, Root
from ..observe.enter import in_namespace
from ..observe.processes import Daemon
from . import file_cache

T = TypeVar("T")

COMMANDS = frozenset(
    {
        "dockerd",
        "containerd",
        "crio",
        "buildkitd",
        "incusd",
        "lxd",
        "kubelet",
        "kubelite",
        "k3s",
        "k3s-server",
        "k3s-agent",
    }
)
"""Command names of the daemons that engines' modules need: for `DaemonWatch`."""

MOST_ROOTS = 100
"""Roots of ended daemons that are remembered of one engine."""

_FIRST_RETRY = 1.0
_LAST_RETRY = 60.0


@dataclass(slots=True)
class _Answer:
    """What a daemon's own namespace answered; an absence or failure is asked again from `again` on.

    `again` is in seconds of CLOCK_MONOTONIC, `wait` the seconds until then.
    """

    value: object
    error: Exception | None
    again: float
    wait: float


class Host:
    """One for the life of an agent, or of one run of a command: `update` it with the daemons of each scan.

    Files of our own namespace are read again when their stat changes. Those of a daemon in another namespace cost a
    forked child each, so they are read once for each process, and again at a `resync`; what was absent or failed is
    asked again after 1, 2, 4, … 60 s.
    """

    def __init__(self, daemons: tuple[Daemon, ...] = ()) -> None:
        self.daemons = daemons
        self._remembered: dict[str, tuple[bytes, ...]] = {}
        """By engine: the roots of every daemon that ran since the boot."""
        self._gaps: list[Gap] = []
        self._files = file_cache.FileCache()
        self._answers: dict[tuple[Daemon, str, bytes], _Answer] = {}
        self._found: dict[Daemon, tuple[Root, ...]] = {}

    def update(self, daemons: tuple[Daemon, ...]) -> None:
        """Set the daemons that run now, and forget what is known of others."""
        if daemons != self.daemons:
            self.daemons = daemons
            self._answers = {key: answer for key, answer in self._answers.items() if key[0] in daemons}
            self._found = {daemon: roots for daemon, roots in self._found.items() if daemon in daemons}

    def resync(self) -> None:
        """Forget every file, so that the next scan reads all of them."""
        self._files.clear()
        self._answers.clear()

    def of(self, comm: str) -> tuple[Daemon, ...]:
        """The running daemons of that command name."""
        return tuple(daemon for daemon in self.daemons if daemon.comm == comm)

    def each(self, comm: str, find: Callable[[Daemon], Iterable[Root]]) -> list[Root]:
        """What `find` says of each running daemon of that command name.

        A daemon that has just ended has no roots. Where another one can't be asked, that is a gap, and what was found
        of it before still stands.
        """
        found: list[Root] = []
        for daemon in self.of(comm):
            try:
                self._found[daemon] = tuple(find(daemon))
            except (OSError, MountwardenError) as error:
                if not os.path.exists(f"/proc/{daemon.pid}"):
                    continue
                self.gap(f"roots of {comm}, process {daemon.pid}", str(error))
            found += self._found.get(daemon, ())
        return found

    def daemon_of(self, root: Root) -> Daemon | None:
        """The one running daemon that has this root, as of the last `each`; None: none has it, or several have."""
        key = root.path, root.home
        found = [one for one, roots in self._found.items() if key in ((each.path, each.home) for each in roots)]
        daemons = found or [one for one in self.of(root.engine) if one.namespace == root.home]
        return daemons[0] if len(daemons) == 1 and root.home_known else None

    def remember(self, roots: Mapping[str, tuple[bytes, ...]]) -> None:
        """Take over what an earlier run knew as `remembered`."""
        self._remembered = {engine: tuple(paths) for engine, paths in roots.items()}

    def remembered(self) -> Mapping[str, tuple[bytes, ...]]:
        """By engine: the roots of every daemon that ran since the boot and whose directories are there."""
        return self._remembered

    def ended(self, engine: str, running: Iterable[bytes]) -> tuple[bytes, ...]:
        """The roots of the engine's daemons that have ended; `running` are those of the running ones.

        A root is forgotten when its directory has gone.
        """
        running = tuple(dict.fromkeys(running))
        before = (path for path in self._remembered.get(engine, ()) if path not in running)
        ended = tuple(path for path in before if self.realpath(path) == path)
        self._remembered[engine] = (*ended, *running)[-MOST_ROOTS:]
        return ended

    def read(self, path: bytes, daemon: Daemon | None = None) -> bytes | None:
        """The file's content in the daemon's namespace (None: our own); None where there is no such file.

        Raises: OSError; NoAnswer when the child in the daemon's namespace did not answer in time.
        """
        if daemon is None or daemon.own:
            return self._files.load(path, bytes)
        return self._ask(daemon, "read", path, lambda: file_cache.FileCache().load(path, bytes))

    def realpath(self, path: bytes, daemon: Daemon | None = None) -> bytes | None:
        """The directory's path, symlinks resolved, in the daemon's namespace; None where there is no such directory.

        Raises: as `read`.
        """
        if daemon is None or daemon.own:
            return file_cache.real_directory(path)
        return self._ask(daemon, "realpath", path, lambda: file_cache.real_directory(path))

    def names(self, path: bytes, daemon: Daemon | None = None) -> tuple[bytes, ...]:
        """The names in a directory of the daemon's namespace, sorted; none where there is no such directory.

        Raises: as `read`.
        """
        if daemon is None or daemon.own:
            return self._files.names(path) or ()
        return self._ask(daemon, "names", path, lambda: file_cache.FileCache().names(path)) or ()

    def open_file(self, daemon: Daemon, suffix: bytes) -> bytes | None:
        """The path, in the daemon's view, of a file that it holds open and whose path ends so; None: it has none.

        Only links are read, which does no I/O on the file. A daemon opens its database some time after its start.

        Raises: OSError.
        """
        return self._memo(daemon, "open", suffix, lambda: _open_file(daemon.pid, suffix))

    def gap(self, what: str, reason: str) -> None:
        """Record something that could not be read."""
        self._gaps.append(Gap(what, reason))

    def take_gaps(self) -> list[Gap]:
        """The gaps since the last call, each once."""
        gaps, self._gaps = self._gaps, []
        return list(dict.fromkeys(gaps))

    def _ask(self, daemon: Daemon, what: str, path: bytes, function: Callable[[], T | None]) -> T | None:
        return self._memo(daemon, what, path, lambda: in_namespace(daemon.pid, function, inode=daemon.namespace))

    def _memo(self, daemon: Daemon, what: str, path: bytes, function: Callable[[], T | None]) -> T | None:
        key = (daemon, what, path)
        known = self._answers.get(key)
        now = time.monotonic()
        if known is None or now >= known.again:
            wait = min(known.wait * 2, _LAST_RETRY) if known else _FIRST_RETRY
            known = self._answers[key] = _asked(function, now, wait)
        if known.error is not None:
            raise known.error
        return cast("T | None", known.value)


def _asked(function: Callable[[], object], now: float, wait: float) -> _Answer:
    try:
        value = function()
    except (OSError, MountwardenError) as error:
        return _Answer(None, error.with_traceback(None), now + wait, wait)
    return _Answer(value, None, now + wait if value is None else float("inf"), wait)


def _open_file(pid: int, suffix: bytes) -> bytes | None:
    directory = b"/proc/%d/fd" % pid
    for name in os.listdir(directory):
        try:
            target = os.readlink(directory + b"/" + name)
        except FileNotFoundError:
            continue  # closed meanwhile
        if target.startswith(b"/") and target.endswith(suffix):
            return target
    return None
