"""The parser that all commands share, and the options that many commands have."""

import argparse
import os
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from .. import durations
from ..config import schema as configuration
from ..errors import MountwardenError
from ..escape import printable
from ..model import Kind, Severity, Tier

_EXAMPLES = """\
examples:
  mountwarden                       what is wrong on this host, now
  mountwarden explain mw-0123456789 explain one finding
  mountwarden detach mw-0123456789  force the detach of a leaked copy
  mountwarden demo                  see all of it on a layer of its own
"""


_FORMATTER = argparse.RawDescriptionHelpFormatter


class Usage(MountwardenError):
    """The command line is wrong."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line and a hint, and that knows the options which every command has."""

    def __init__(self, *args: Any, common: bool = True, json: bool = True, tier: bool = True, **kwargs: Any) -> None:
        # conflict_handler: a command that has more to say about a common option declares its own.
        defaults = {"allow_abbrev": False, "conflict_handler": "resolve", "formatter_class": _FORMATTER}
        super().__init__(*args, **{**defaults, **kwargs})
        if common:
            _common(self, json=json, tier=tier)

    def error(self, message: str) -> NoReturn:
        """Raises: Usage, which is one line instead of argparse's help dump."""
        command = self.prog.removeprefix("mountwarden").strip()
        raise Usage(printable(message), hint=f"mountwarden {command} --help".replace("  ", " "))


def _common(parser: argparse.ArgumentParser, *, json: bool, tier: bool) -> None:
    group = parser.add_argument_group("common options")
    if json:
        group.add_argument("--json", action="store_true", help="JSON instead of text")
    if tier:
        group.add_argument(
            "--tier",
            choices=[str(tier) for tier in Tier],
            help="kernel interface that scans use (default: the configuration's, else the best that works)",
        )
    group.add_argument(
        "--config",
        metavar="DIR",
        type=os.fsencode,
        default=configuration.DIRECTORY,
        help="directory of mountwarden.toml (default: /etc/mountwarden)",
    )
    group.add_argument("--no-color", action="store_true", help="no colours; so does NO_COLOR in the environment")


def main_parser() -> tuple[Parser, "argparse._SubParsersAction[Parser]"]:
    """The parser without its commands, and what the commands' modules register at."""
    top = Parser(
        prog="mountwarden",
        common=False,
        description="Finds mounts leaked into other mount namespaces, says who holds them and why, and forces their "
        "detach.\nWithout a command: report.",
        epilog=_EXAMPLES,
    )
    top.add_argument("--version", action="store_true", help="the version, and nothing else")
    return top, top.add_subparsers(metavar="COMMAND", title="commands", parser_class=Parser)


def parse(parser: Parser | argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """Parse. Raises: Usage, with the nearest option where there is no such one."""
    arguments, unknown = parser.parse_known_args(argv)
    if not unknown:
        return arguments
    import difflib

    options = _options(parser, argv[0])
    near = difflib.get_close_matches(unknown[0].partition("=")[0], options, 1)
    hint = f"did you mean {near[0]}?" if near else f"mountwarden {argv[0]} --help"
    raise Usage(f"{argv[0]} takes no {printable(unknown[0])}", hint=hint)


def _options(parser: argparse.ArgumentParser, command: str) -> list[str]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return list(action.choices[command]._option_string_actions)
    return []


def filters(parser: argparse.ArgumentParser) -> None:
    """Which findings a command is about."""
    from ..systemd import known_units
    from . import filters

    group = parser.add_argument_group("which findings")
    group.add_argument("--engine", metavar="ENGINE", type=filters.engine, help="of this engine's roots")
    group.add_argument(
        "--unit", metavar="UNIT", type=known_units.full_name, help="held by this unit; .service is implied"
    )
    group.add_argument("--kind", choices=[str(kind) for kind in Kind], help="of this kind")
    group.add_argument("--root", metavar="PATH", type=filters.root, help="below this root")


def host(parser: argparse.ArgumentParser) -> None:
    """Ask the service of another host."""
    parser.add_argument(
        "-H", "--host", metavar="HOST", help="ask the service of this host, over ssh (as ssh takes it: user@name)"
    )


def waiting(parser: argparse.ArgumentParser) -> None:
    """How long a command waits for findings to be confirmed."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--wait",
        metavar="TIME",
        type=duration(3600.0, zero=True),
        default=5.0,
        help="wait at most so long for findings to hold for their confirm time (default: 5s)",
    )
    group.add_argument("--no-wait", action="store_const", const=0.0, dest="wait", help="one scan; nothing is confirmed")


def snapshot(parser: argparse.ArgumentParser) -> None:
    """Judge a snapshot instead of this host."""
    parser.add_argument(
        "--from",
        dest="snapshot",
        metavar="FILE",
        help="judge a file of mountwarden snapshot, - for stdin; needs no root",
    )


def duration(most: float, *, zero: bool = False) -> Callable[[str], float]:
    """The type of an argument: a time span of at most so many seconds, and of none only with `zero`."""

    def seconds(text: str) -> float:
        try:
            found = durations.parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} {error}; {durations.HINT}") from None
        if found > most or not (found or zero):
            least = "0" if zero else "more than 0"
            raise argparse.ArgumentTypeError(f"{text!r} is not {least} to {durations.text(most)}")
        return found

    return seconds


def severity(parser: argparse.ArgumentParser) -> None:
    """Which findings make the exit status 1."""
    levels = [str(level) for level in Severity if level is not Severity.INFO]
    parser.add_argument(
        "--fail-on", choices=levels, default=str(Severity.WARNING), help="exit status 1 from here on (default: warning)"
    )
