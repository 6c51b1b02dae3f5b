"""The configuration of a command. Wrong files never keep one from looking, only from acting without policies."""

import sys
from argparse import Namespace

from ..config import load
from ..config.schema import DIRECTORY, Config
from ..errors import ConfigError
from ..escape import sentence
from ..state import effective
from ..state.run_directory import RunDirectory

CHECK = "mountwarden config check"


def errors(arguments: Namespace) -> list[ConfigError]:
    """What is wrong with the files of the directory that the options name. They are read once."""
    return _drafted(arguments)[1]


def of(arguments: Namespace, *, acts: bool = False) -> Config:
    """The configuration of the files. Where they are wrong and no option named them: that of the service, else the
    defaults, with a warning; for a command that `acts`, that of the service alone.

    Raises: ConfigError.
    """
    config, wrong = _drafted(arguments)
    if not wrong:
        return config
    if is_named(arguments):
        raise wrong[0]
    if not hasattr(arguments, "used"):
        arguments.used = _instead(wrong[0], acts=acts)
    used: Config = arguments.used
    return used


def is_named(arguments: Namespace) -> bool:
    """Whether --config was given, be it with the default's own name: argparse passes on the default itself."""
    return arguments.config is not DIRECTORY


def warn(text: str) -> None:
    """A line on stderr, and where all that is wrong is told."""
    print(f"mountwarden: {sentence(text)}\nhint: {CHECK}", file=sys.stderr, flush=True)


def _drafted(arguments: Namespace) -> tuple[Config, list[ConfigError]]:
    if not hasattr(arguments, "drafted"):
        arguments.drafted = load.drafted(arguments.config)
    drafted: tuple[Config, list[ConfigError]] = arguments.drafted
    return drafted


def _instead(error: ConfigError, *, acts: bool) -> Config:
    used = effective.read(RunDirectory())
    if used is None and acts:
        text = f"{error.message}; nothing was done, since policies and silences may be missing"
        raise ConfigError(text, hint=CHECK, line=error.line)
    warn(f"{error.message}; going on with {'the defaults' if used is None else 'the configuration of the service'}")
    return used or Config()
