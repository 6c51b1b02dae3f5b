"""What a command needs before it can scan: the configuration, a Scanner, and what decides on the service's actions."""

import os
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace

from .. import engines
from ..config.schema import Mode
from ..errors import MountwardenError
from ..ledger import stored, update
from ..ledger.update import Ledger
from ..model import Finding, Root, Tier
from ..observe import processes, read_ahead
from ..observe.exposed_texts import ExposedTexts
from ..remedies.plan import Circumstances
from ..scan import history_file
from ..scan.confirm import Known, KnownBefore
from ..scan.scanner import Scanner, boot_id
from ..service.actions import reported_circumstances
from ..state import run_directory, silences
from ..state.run_directory import RunDirectory
from . import configuration
from .service_report import ServiceReport


def scanner(
    arguments: Namespace,
    *,
    acts: bool = False,
    exposed: ExposedTexts | None = None,
    alive: Callable[[], None] = lambda: None,
) -> Scanner:
    """A Scanner for the configuration of the command, with the silences of this boot. `acts`: the command does.

    `exposed` looks at what it reads, `alive` is called for each namespace. The configuration's tier may not work here;
    then the best one that does is used, with a warning.

    Raises: ConfigError; MountwardenError where the tier that an option names does not work.
    """
    read_ahead.allow()
    tier = None if arguments.tier is None else Tier(arguments.tier)
    saved, _why_not = history_file.read(RunDirectory(), boot_id())
    config = silences.merged(configuration.of(arguments, acts=acts), RunDirectory())
    try:
        return Scanner(config, tier=tier, history=saved, exposed=exposed, alive=alive)
    except MountwardenError as error:
        if tier is not None or config.tier is None or configuration.is_named(arguments):
            raise
        configuration.warn(f"tier in the configuration: {error.message}; going on with the best tier that works")
        return Scanner(replace(config, tier=None), history=saved, exposed=exposed, alive=alive)


def roots(arguments: Namespace) -> list[Root]:
    """The roots of the configuration that the options name, without a scan of what is mounted."""
    host = engines.Host(processes.DaemonWatch(engines.COMMANDS).update(processes.pids()))
    return engines.discover(host, configuration.of(arguments))[0]


def ledger(scanner: Scanner) -> Ledger:
    """What the service remembers of this boot, running or not."""
    try:
        return stored.load(run_directory.read(RunDirectory().ledger), scanner.boot_id)[0]
    except OSError:  # not for us to read
        return Ledger(scanner.boot_id)


def known(scanner: Scanner) -> Known:
    """What the service remembers of a finding."""
    remembered = ledger(scanner)

    def of(finding: Finding) -> KnownBefore | None:
        entry = update.remembered(remembered, finding)
        if entry is None:
            return None
        due = time.clock_gettime(time.CLOCK_BOOTTIME) >= entry.due
        return KnownBefore(entry.subject.since, entry.confirmed or due)

    return of


def circumstances(scanner: Scanner, agent: ServiceReport) -> Circumstances:
    """What decides on the service's actions besides the configuration: a pause, the ledger of this boot, its mode."""
    found = reported_circumstances(RunDirectory(), ledger(scanner), scanner.config)
    return replace(found, observing=agent.mode is Mode.OBSERVE)


def need_root(what: str) -> None:
    """Raises: MountwardenError unless we are root."""
    if os.geteuid() != 0:
        raise MountwardenError(f"{what} needs root", hint="run it as root")
