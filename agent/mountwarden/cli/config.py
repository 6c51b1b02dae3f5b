"""mountwarden config: check the configuration, or show it with the origin of each value."""

import sys
from argparse import Namespace
from typing import TYPE_CHECKING

from ..escape import printable, sentence
from ..output import report_file
from . import options

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def register(subparsers: "_SubParsersAction[options.Parser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "config",
        help="check or show the configuration",
        description="The configuration: defaults, then mountwarden.toml, then mountwarden.toml.d/*.toml by name.",
        common=False,
    )
    actions = parser.add_subparsers(metavar="check|show", title="what to do", parser_class=options.Parser)
    check = actions.add_parser("check", help="every error, each with its file and line", tier=False)
    check.set_defaults(run=run_check)
    show = actions.add_parser("show", help="the configuration in effect, as TOML", json=False, tier=False)
    show.add_argument("--origin", action="store_true", help="say where each value comes from")
    show.set_defaults(run=run_show)
    parser.set_defaults(run=run_bare)


def run_bare(_arguments: Namespace) -> int:
    """Neither check nor show was given. Raises: Usage."""
    raise options.Usage("config takes check or show", hint="mountwarden config show --origin")


def run_check(arguments: Namespace) -> int:
    """0 when the configuration is right, 2 when not: a service would refuse it, or keep its old one."""
    from ..config.load import check

    errors = check(arguments.config)
    if arguments.json:
        listed = [{"error": sentence(error.message), "hint": error.hint} for error in errors]
        sys.stdout.write(report_file.dumps({"ok": not errors, "errors": listed}))
    elif not errors:
        print(f"{printable(arguments.config)}: the configuration is right")
    for error in () if arguments.json else errors:
        print(f"mountwarden: {sentence(error.message)}", *([f"hint: {error.hint}"] if error.hint else []), sep="\n")
    return 2 if errors else 0


def run_show(arguments: Namespace) -> int:
    """Print the configuration in effect. Raises: ConfigError."""
    from ..config.dump import dump
    from ..config.load import load

    sys.stdout.write(dump(load(arguments.config), origin=arguments.origin))
    return 0
