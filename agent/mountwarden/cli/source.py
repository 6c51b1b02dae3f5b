"""Who answers a command: the running service or, where it gives no answer, a scan of this process.

The service has watched since it started, so it knows more than one scan can see: while it answers, it alone is asked.
"""

import contextlib
import os
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from ..config.schema import DIRECTORY
from ..errors import MountwardenError
from ..model import Action
from ..report import types
from ..report.answers import ExplainedJson, OverJson, PlannedJson
from ..report.outcomes import OutcomeJson
from ..state import lock, run_directory
from ..systemd import OWN_UNIT
from ..varlink.client import Trouble, Unreachable

T = TypeVar("T")

SINGLE = "a single scan can't know all that leaked before it, such as volumes and copies on other directories"


@dataclass(frozen=True, slots=True)
class Order:
    """What an operator wants done."""

    action: Action
    ids: Sequence[str]
    dry_run: bool = False
    lazy: bool = False
    """With unmount: also where the copy is in use."""
    unit: str | None = None
    """With rejoin: a unit that the operator names."""
    also_unread: frozenset[int] = frozenset()
    """Inodes of mount namespaces that do not keep it back though they can't be read."""


class AnswerSource(Protocol):
    """What answers, all of it in JSON as --json prints it. Each method raises: MountwardenError."""

    note: str | None
    """What a reader must know of its reports; None for the service's own answers."""

    def report(self, *, wait: float, everything: bool = False) -> types.ReportJson:
        """A scan now, and another one where findings may be confirmed within `wait` seconds, those of info only with
        `everything`."""

    def explain(self, finding_id: str, *, wait: float) -> ExplainedJson | OverJson:
        """One finding in full, by its id or the beginning of it; of one that is over, what the journal has."""

    def plan(self, ids: Sequence[str], *, wait: float) -> list[PlannedJson]:
        """What would be done about these findings; without ids, about all that are warnings at least."""

    def act(self, order: Order, go_on: Callable[[], bool]) -> Iterable[OutcomeJson]:
        """Do it; each outcome as it comes. `go_on` is asked before more is begun."""

    def close(self) -> None:
        """Give back what is open."""


def answer(arguments: Namespace, ask: Callable[[AnswerSource], T]) -> T:
    """What the one for these options answers; where the service ends or hangs meanwhile, the next one.

    Raises: MountwardenError.
    """
    try:
        with of(arguments) as source:
            return ask(source)
    except Unreachable as error:
        if getattr(arguments, "host", None) is not None:
            raise
        with contextlib.closing(_without_service(arguments, error.trouble, acts=False)) as source:
            return ask(source)


@contextlib.contextmanager
def of(arguments: Namespace, *, acts: bool = False) -> Iterator[AnswerSource]:
    """The one for these options, while it is needed; with `acts`, one that may change the host.

    Raises: MountwardenError where none can answer, with what to do.
    """
    source = _of(arguments, acts=acts)
    try:
        yield source
    finally:
        source.close()


def _of(arguments: Namespace, *, acts: bool) -> AnswerSource:
    from . import remote
    from .service import RunningService

    if (host := getattr(arguments, "host", None)) is not None:
        return RunningService(remote.connect(host), host)
    if own := _asks_for_a_scan(arguments):
        return _scan(arguments, f"a scan of its own, since {own} asks for one: {SINGLE}", acts=acts)
    try:
        return RunningService(remote.local(remote.ACTING if acts else remote.HERE))
    except Unreachable as error:
        return _without_service(arguments, error.trouble, acts=acts)


def _asks_for_a_scan(arguments: Namespace) -> str | None:
    """The option that the service has not: it scans by its own tier and configuration."""
    if getattr(arguments, "tier", None) is not None:
        return "--tier"
    return "--config" if arguments.config is not DIRECTORY else None


def _without_service(arguments: Namespace, trouble: Trouble, *, acts: bool) -> AnswerSource:
    from . import remote
    from .last_report import LastReport

    late = trouble is Trouble.LATE
    if os.geteuid() == 0:
        seconds = remote.ACTING if acts else remote.HERE
        why = f"{OWN_UNIT} gave no answer within {seconds:g} s" if late else f"{OWN_UNIT} is not running"
        directory = run_directory.RunDirectory()
        if run_directory.is_covered(directory):
            why = f"{OWN_UNIT} can't be asked, since something is mounted over {directory.path}"
        elif not late and lock.service(directory):
            why = f"{OWN_UNIT} runs, and has no socket in {directory.path}"
        return _scan(arguments, f"{why}: {SINGLE}", acts=acts)
    if trouble is Trouble.DENIED:
        hint = f"run it as root, or become a member of the group {run_directory.READERS}"
        raise MountwardenError(f"a scan needs root, and {OWN_UNIT} may not be asked", hint=hint)
    run_directory.require_uncovered(run_directory.RunDirectory())
    return LastReport()


def _scan(arguments: Namespace, note: str, *, acts: bool) -> AnswerSource:
    from . import session
    from .own_scan import OwnScan

    session.need_root("a scan")
    return OwnScan(arguments, note, acts=acts)
