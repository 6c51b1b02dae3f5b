"""What a command needs before it can scan: the configuration, a Scanner, and what decides on the service's actions."""

import os
from argparse import Namespace
from dataclasses import replace

from .. import engines
from ..config.load import load
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
from .service_report import ServiceReport


def scanner(arguments: Namespace) -> Scanner:
    """A Scanner for the configuration that the options name, with the silences of this boot."""
    tier = None if arguments.tier is None else Tier(arguments.tier)
    return Scanner(silences.merged(load(arguments.config), RunDirectory()), tier=tier)


def roots(arguments: Namespace) -> list[Root]:
    """The roots of the configuration that the options name, without a scan of what is mounted."""
    host = engines.Host(processes.DaemonWatch(engines.COMMANDS).update(processes.pids()))
    return engines.discover(host, load(arguments.config))[0]


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
