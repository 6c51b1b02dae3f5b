"""What operators decide: the configuration, and in /run this boot's silences and a pause."""

import time
from collections.abc import Callable

from ..config.schema import Config
from ..errors import ConfigError, MountwardenError
from ..state import effective, pause, silences
from ..state.pause import Pause
from ..state.run_directory import RunDirectory
from .unsaved import Unsaved


class OperatorSettings:
    """Reads what operators decide each time anew."""

    def __init__(
        self, load: Callable[[], Config], directory: bytes, run: RunDirectory, unsaved: Unsaved | None = None
    ) -> None:
        """`load` reads the configuration in `directory`."""
        self.unsaved = unsaved or Unsaved()
        self.directory = directory
        self.run = run
        self.kept: str | None = None
        """Why the old configuration is kept; None when it is not."""
        self._load = load

    def load(self) -> Config | None:
        """The configuration as its files are now; None where it can't be used, as `kept` then says."""
        try:
            config = self._load()
        except (MountwardenError, OSError) as error:
            more = len(error.others) if isinstance(error, ConfigError) else 0
            self.kept = f"{error}" + (f" (and {more} more: mountwarden config check)" if more else "")
            return None
        self.kept = None
        return config

    def share(self, config: Config) -> None:
        """Let commands know which configuration is in use. Without that they use the defaults where files are wrong."""
        self.unsaved.write(self.run.config, lambda: effective.write(self.run, config))

    def differ_from(self, config: Config) -> bool:
        """Whether the files say something else than `config`, or can't be used and that is not known yet."""
        try:
            return self._load() != config
        except (MountwardenError, OSError):
            return self.kept is None

    def with_silences(self, config: Config) -> Config:
        """The configuration with the silences of this boot."""
        return silences.merged(config, self.run)

    def pause(self) -> Pause | None:
        """The pause in force now."""
        return pause.read(self.run, time.time())
