"""The configuration that the running service uses, which may be an older one than the files have.

The service writes it; a command reads it where the files are wrong. It means nothing once the service has ended.
"""

from ..config import load
from ..config.dump import dump
from ..config.schema import Config
from ..errors import ConfigError
from . import lock, run_directory
from .run_directory import RunDirectory


def write(run: RunDirectory, config: Config) -> None:
    """Replace it. Only root may read it, as policies may name what others need not know. Raises: OSError."""
    run_directory.write(run.config, dump(config).encode(), run_directory.OWN)


def read(run: RunDirectory) -> Config | None:
    """That of the running service; None where none runs, or it can't be read or understood."""
    try:
        data = run_directory.read(run.config) if lock.service(run) else None
        return None if data is None else load.parse(data, str(run.config))
    except (OSError, ConfigError):
        return None
