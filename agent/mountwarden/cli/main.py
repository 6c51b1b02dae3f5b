"""The command line: finds the command, imports its module alone, and turns errors into one line and a status."""

import gc
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from .. import __version__
from ..errors import MountwardenError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

DEFAULT = "report"

COMMANDS = {
    "report": "report",
    "explain": "explain",
    "map": "map",
    "who": "who",
    "doctor": "doctor",
    "predict": "predict",
    "status": "status",
    "watch": "watch",
    "history": "history",
    "plan": "plan",
    "share": "share",
    "detach": "detach",
    "unmount": "unmount",
    "rejoin": "rejoin",
    "pause": "pause",
    "resume": "pause",
    "silence": "silence",
    "snapshot": "snapshot",
    "demo": "demo",
    "config": "config",
    "agent": "agent",
    "varlink": "varlink",
    "layer": "layer",
    "graphdriver": "graphdriver",
}
"""Command to the module of this package that registers it, in the order of `--help`."""

_WITH_VALUE = ("--config", "--tier", "-H", "--host")
_MADE = 100_000
"""Objects that a command makes before garbage is searched for: a scan makes many, and hardly any circles."""
_LONG = ("agent", "graphdriver")
"""Commands that do not end by themselves."""
_INTERRUPTED = 130
_BROKEN_PIPE = 141


def run() -> NoReturn:
    """The console script."""
    sys.exit(main(sys.argv[1:]))


def main(argv: Sequence[str]) -> int:
    """Run one command and return its exit status. Errors go to stderr as one line, and a hint."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal whose encoding lacks a character
    try:
        status = _dispatch(list(argv))
        sys.stdout.flush()
        return status
    except MountwardenError as error:
        return _failed(error.message, error.hint, error.status)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the interpreter complains at its exit
        return _BROKEN_PIPE
    except OSError as error:
        return _failed(_os_error(error), _os_hint(error), 2)


def _dispatch(argv: list[str]) -> int:
    if argv in (["--version"], ["-V"]):
        print(f"mountwarden {__version__}")
        return 0
    if argv and argv[0] in ("-h", "--help", "help"):
        parser().print_help()
        return 0
    if argv == ["agent"]:  # as systemd starts it: engines wait, and there is nothing to parse
        from . import agent

        return agent.run(agent.WITHOUT_OPTIONS)
    command, rest = split(argv)
    if command not in COMMANDS:
        raise _unknown(command)
    return _run(command, rest)


def _run(command: str, rest: list[str]) -> int:
    from . import host_view
    from .options import parse

    arguments = parse(parser((command,)), [command, *rest])
    if command not in _LONG:
        gc.set_threshold(_MADE)
    host_view.enter(command, arguments)
    if getattr(arguments, "host", None) is None:
        return _status(arguments)
    from .remote import understood

    with understood(arguments.host):
        return _status(arguments)


def _status(arguments: "Namespace") -> int:
    status: int = arguments.run(arguments)
    return status


def split(argv: list[str]) -> tuple[str, list[str]]:
    """The command, wherever it stands among the options, and everything else; no command means report."""
    at = 0
    while at < len(argv):
        if argv[at] == "--":
            break
        if not argv[at].startswith("-"):
            return argv[at], argv[:at] + argv[at + 1 :]
        at += 2 if argv[at] in _WITH_VALUE else 1
    return DEFAULT, argv


def parser(commands: Sequence[str] | None = None) -> "ArgumentParser":
    """The one parser, of these commands or of all. Man pages and completions are made from it."""
    import importlib

    from .options import main_parser

    top, subparsers = main_parser()
    modules = dict.fromkeys(COMMANDS[command] for command in commands or COMMANDS)
    for module in modules:
        try:
            loaded = importlib.import_module(f".{module}", __package__)
        except ModuleNotFoundError as error:
            if error.name != f"{__package__}.{module}" or commands:
                raise
            continue
        loaded.register(subparsers)
    return top


def _unknown(command: str) -> MountwardenError:
    import difflib

    from ..escape import printable

    near = difflib.get_close_matches(command, COMMANDS, 1)
    if command.startswith("mw-"):
        near = ["explain " + printable(command)]
    hint = f"did you mean `mountwarden {near[0]}`?" if near else "mountwarden --help lists the commands"
    return MountwardenError(f"there is no command {printable(command)!r}", hint=hint)


def _os_error(error: OSError) -> str:
    from ..escape import printable

    text = error.strerror or str(error) or type(error).__name__
    name = error.filename
    return f"{printable(name)}: {printable(text)}" if isinstance(name, bytes | str) else printable(text)


def _os_hint(error: OSError) -> str | None:
    return "run it as root" if isinstance(error, PermissionError) and os.geteuid() != 0 else None


def _failed(message: str, hint: str | None, status: int) -> int:
    from ..escape import sentence

    print(f"mountwarden: {sentence(message)}", file=sys.stderr)
    if hint:
        print(f"hint: {sentence(hint)}", file=sys.stderr)
    return status
