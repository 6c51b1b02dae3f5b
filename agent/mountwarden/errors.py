"""The errors that a user reads, in one line with a hint.

Anything below the command line raises one of these, or `OSError` as it came from the kernel; the command line turns
both into one line on stderr and an exit status.
"""

from typing import Any


class MountwardenError(Exception):
    """What failed, in one line, and what to try. `status` is the exit status of the command line."""

    status = 2

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickled whole, for a forked child's answer: the constructors take what Exception's own pickling drops.
        return _rebuild, (type(self), self.__dict__)


def _rebuild(kind: type[MountwardenError], state: dict[str, Any]) -> MountwardenError:
    error = kind.__new__(kind, state["message"])
    error.__dict__.update(state)
    return error


class ConfigError(MountwardenError):
    """A configuration file or flag is wrong. Nothing was changed; at a reload the old configuration stays."""

    def __init__(self, message: str, *, hint: str | None = None, line: int = 0) -> None:
        """`line` is that of the file which the message names; 0 where it is about none."""
        super().__init__(message, hint=hint)
        self.line = line
        self.others: tuple[ConfigError, ...] = ()
        """What else is wrong."""


class RefusedToRun(MountwardenError):
    """The agent will not run here, for example in a mount namespace of its own (EX_CONFIG of sysexits.h)."""

    status = 78


class Declined(MountwardenError):
    """An action was not taken because a precondition did not hold. The host is as it was. `code` is stable."""

    status = 1

    def __init__(self, code: str, message: str, *, hint: str | None = None, unread: tuple[int, ...] = ()) -> None:
        """`unread` are inodes of the mount namespaces that kept it back, since they could not be read."""
        super().__init__(message, hint=hint)
        self.code = code
        self.unread = unread


class NoAnswer(MountwardenError):
    """A child did not answer before its deadline, or died. It is killed and reaped."""
