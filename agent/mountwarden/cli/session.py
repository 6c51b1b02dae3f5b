"""What a command needs before it can look: the configuration, a Looker, whether acts are paused."""

import os
import time
from argparse import Namespace

from .. import pause, silences
from ..config_load import load
from ..errors import MountwardenError
from ..look import Looker
from ..model import Tier
from ..remedies.plan import Circumstances
from ..state import RunDirectory


def looker(arguments: Namespace) -> Looker:
    """A Looker for the configuration that the options name, with the silences of this boot."""
    tier = None if arguments.tier is None else Tier(arguments.tier)
    return Looker(silences.merged(load(arguments.config), RunDirectory()), tier=tier)


def circumstances() -> Circumstances:
    """Whether acts are paused."""
    return Circumstances(paused=pause.read(RunDirectory(), time.time()) is not None)


def need_root(what: str) -> None:
    """Raise MountwardenError unless we are root."""
    if os.geteuid() != 0:
        raise MountwardenError(f"{what} needs root", hint="run it as root")
