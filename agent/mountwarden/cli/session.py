"""What a command needs before it can scan: the configuration, a Scanner, and what decides on the service's actions."""

import os
from argparse import Namespace
from dataclasses import replace

from .. import engines
from ..config.schema import Mode
from ..errors import MountwardenError
from ..ledger import stored
from ..ledger.update import Ledger
from ..model import Root, Tier
from ..observe import processes
from ..remedies.plan import Circumstances
from ..scan.scanner import Scanner
from ..service.actions import reported_circumstances
from ..state import run_directory, silences
from ..state.run_directory import RunDirectory
from . import configuration
from .service_report import ServiceReport


def scanner(arguments: Namespace, *, acts: bool = False) -> Scanner:
    """A Scanner for the configuration of the command, with the silences of this boot. `acts`: the command does.

    The configuration's tier may not work here; then the best one that does is used, with a warning.

    Raises: ConfigError; MountwardenError where the tier that an option names does not work.
    """
    tier = None if arguments.tier is None else Tier(arguments.tier)
    config = silences.merged(configuration.of(arguments, acts=acts), RunDirectory())
    try:
        return Scanner(config, tier=tier)
    except MountwardenError as error:
        if tier is not None or config.tier is None or configuration.is_named(arguments):
            raise
        configuration.warn(f"tier in the configuration: {error.message}; going on with the best tier that works")
        return Scanner(replace(config, tier=None))


def roots(arguments: Namespace) -> list[Root]:
    """The roots of the configuration that the options name, without a scan of what is mounted."""
    host = engines.Host(processes.DaemonWatch(engines.COMMANDS).update(processes.pids()))
    return engines.discover(host, configuration.of(arguments))[0]


def circumstances(scanner: Scanner, agent: ServiceReport) -> Circumstances:
    """What decides on the service's actions besides the configuration: a pause, the ledger of this boot, its mode."""
    run = RunDirectory()
    try:
        ledger, _why = stored.load(run_directory.read(run.ledger), scanner.boot_id)
    except OSError:  # not for us to read
        ledger = Ledger(scanner.boot_id)
    found = reported_circumstances(run, ledger, scanner.config)
    return replace(found, observing=agent.mode is Mode.OBSERVE)


def need_root(what: str) -> None:
    """Raises: MountwardenError unless we are root."""
    if os.geteuid() != 0:
        raise MountwardenError(f"{what} needs root", hint="run it as root")
