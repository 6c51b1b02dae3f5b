"""What a command needs before it can look: the configuration, a Looker, whether acts are paused."""

import os
from argparse import Namespace

from ..config_load import load
from ..errors import MountwardenError
from ..look import Looker
from ..remedies.plan import Circumstances


def looker(arguments: Namespace) -> Looker:
    """A Looker for the configuration that the options name."""
    return Looker(load(arguments.config))


def circumstances() -> Circumstances:
    """Whether acts are paused."""
    return Circumstances()


def need_root(what: str) -> None:
    """Raise MountwardenError unless we are root."""
    if os.geteuid() != 0:
        raise MountwardenError(f"{what} needs root")
