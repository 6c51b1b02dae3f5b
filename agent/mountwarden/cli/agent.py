"""mountwarden agent: the service itself."""

import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

from ..config.schema import DIRECTORY
from ..errors import ConfigError, MountwardenError, RefusedToRun
from ..escape import sentence

if TYPE_CHECKING:
    from argparse import Namespace, _SubParsersAction
    from collections.abc import Callable, Iterable, Sequence

    from ..config.schema import Config
    from ..model import Action, Finding
    from ..service.triggers import Triggers
    from ..state.lock import Lock
    from ..systemd.notify import Notifier
    from . import options

WITHOUT_OPTIONS = SimpleNamespace(observe=False, tier=None, config=DIRECTORY)
"""What the parser makes of none."""
_EPILOG = """\
exit status:
  0   ended by SIGTERM
  1   scans failed again and again; systemd starts it anew
  78  it will not run here: no root, not in PID 1's mount namespace, another agent runs, a wrong
      configuration, or a tier that does not work

SIGHUP loads the configuration again; a wrong one is reported, and the old one kept.
"""


def register(subparsers: "_SubParsersAction[options.Parser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "agent",
        help="the service: scans, reports, takes actions (started by mountwarden.service)",
        description="Scans the host again and again, logs what is wrong to the journal, and takes actions where the\n"
        "policy says so. Started by systemd; it stays in the foreground.",
        epilog=_EPILOG,
        json=False,
    )
    parser.add_argument("--observe", action="store_true", help="take no action, whatever the configuration says")
    parser.set_defaults(run=run)


def run(arguments: "Namespace | SimpleNamespace") -> int:
    """Check that we may run, be ready, and work. Nothing before READY waits for anybody."""
    from ..service import preflight

    gaps = preflight.check()
    with _only_agent() as held:
        return _run(arguments, held, "/proc/self/mountinfo" if gaps else "/proc/1/mountinfo")


def _only_agent() -> "Lock":
    """The lock, for as long as we run. Raises: RefusedToRun where another agent has it."""
    from ..state import lock
    from ..state.run_directory import RunDirectory

    held = lock.serve(RunDirectory())
    if isinstance(held, lock.LockHolder):
        raise RefusedToRun(f"another agent runs already: {held}", hint="mountwarden status")
    return held


def _run(arguments: "Namespace | SimpleNamespace", held: "Lock", mounts: str) -> int:
    """With the lock: be ready, and work. `mounts` is the file that tells of changes of home's mounts."""
    try:
        config = _load(arguments)
    except ConfigError as error:
        for other in error.others:  # a line each, for the journal: who mends them wants to do it once
            hint = f" ({other.hint})" if other.hint else ""
            print(f"<3>the configuration is wrong: {sentence(other.message + hint)}", file=sys.stderr)
        raise RefusedToRun(f"the configuration is wrong: {error.message}", hint=error.hint) from None
    except MountwardenError as error:
        raise RefusedToRun(error.message, hint=error.hint) from None

    from ..systemd.notify import Notifier

    notifier = Notifier()
    from ..service.triggers import Triggers

    triggers = Triggers(mounts)  # signals are caught from here on
    notifier.ready()
    return _serve(arguments, config, notifier, triggers, held)


def _load(arguments: "Namespace | SimpleNamespace") -> "Config":
    """The configuration with what the options say. Raises: MountwardenError where its tier does not work here."""
    from ..config.load import load

    overrides = {"mode": "observe"} if arguments.observe else {}
    overrides |= {"tier": arguments.tier} if arguments.tier else {}
    config = load(arguments.config, overrides)
    if config.tier is not None:  # else the first scan finds out: nothing is scanned before READY
        from ..observe import tiers

        tiers.choose(config.tier)
    return config


def _warn(text: str) -> None:
    print(f"<4>{sentence(text)}", file=sys.stderr, flush=True)


def _serve(
    arguments: "Namespace | SimpleNamespace", config: "Config", notifier: "Notifier", triggers: "Triggers", held: "Lock"
) -> int:
    from ..explain import shared_causes
    from ..model import Outcome
    from ..observe.budgets import DEADLINE
    from ..remedies import apply
    from ..remedies.plan import named_units
    from ..scan import history_file
    from ..scan.history_file import HistoryKeeper
    from ..scan.scanner import Scanner, boot_id
    from ..service.actions import AutomaticActions
    from ..service.answers.watchers import Watchers
    from ..service.budget import Budget
    from ..service.clients import Clients
    from ..service.loop import Agent
    from ..service.outbox import Outbox
    from ..service.reporter import Reporter
    from ..service.settings import OperatorSettings
    from ..service.unsaved import Unsaved
    from ..service.watchdog import Watchdog
    from ..state import run_directory
    from ..systemd.journal import Journal

    here = run_directory.RunDirectory()
    directory = run_directory.held(here)
    unsaved = Unsaved(run=directory)
    unsaved.write(directory.ledger, lambda: run_directory.sweep(directory.path))
    saved, why_not = history_file.read(directory, boot_id())
    if why_not:
        _warn(f"{why_not}, a new one was started")
    keeper = HistoryKeeper(directory, unsaved.write, unsaved.left_out)
    watchdog = Watchdog(notifier)
    scanner = Scanner(config, history=saved, keep=keeper.keep, deadline=DEADLINE, alive=watchdog.alive)

    def carry_out(
        findings: "Sequence[Finding]",
        action: "Action",
        go_on: "Callable[[], bool]",
        unit: str | None = None,
        lazy: bool = False,
        also_unread: frozenset[int] = frozenset(),
    ) -> "Iterable[Outcome]":
        if not held.may_act():
            busy = "declined: another mountwarden command acts now, which began before the service did"
            return [Outcome(finding, action, False, "busy", busy) for finding in findings]
        named = named_units(scanner.config) | ({unit} if unit else set())
        return apply.carry_out_all(
            findings, scanner, action, named=named, lazy=lazy, also_unread=also_unread, go_on=go_on
        )

    actions = AutomaticActions(directory, carry_out, tidy=lambda: apply.remove_leftovers(scanner), may_act=held.may_act)
    watchers = Watchers()
    outbox = Outbox(directory, Journal(), watchers.hear, unsaved)
    reporter = Reporter(outbox, shared_causes.with_causes, scanner.boot_id)
    settings = OperatorSettings(lambda: _load(arguments), arguments.config, directory, unsaved)
    clients = Clients(here, carry_out, watchers)
    budget = Budget(directory, scanner.boot_id, unsaved, is_first=held.is_first)
    return Agent(scanner, settings, reporter, actions, triggers, notifier, clients, budget, watchdog).run()
