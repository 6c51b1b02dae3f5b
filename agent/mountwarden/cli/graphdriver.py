"""`mountwarden graphdriver`: Docker's storage plugin in the foreground."""

import logging
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from ..escape import sentence
from ..graphdriver.plugin import server
from ..systemd.own_unit import namespacing_settings
from . import options

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_EPILOG = """\
Docker up to 26 needs --experimental; 27 also DOCKERD_DEPRECATED_GRAPHDRIVER_PLUGINS=1 in its environment; 28 has no
such plugins any more.

examples:
  systemctl start mountwarden-graphdriver.socket
  dockerd --experimental -s mountwarden
"""


def register(subparsers: "_SubParsersAction[options.Parser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "graphdriver",
        help="serve Docker's graphdriver plugin protocol",
        description="Serves the overlay driver to dockerd on a unix socket, until SIGTERM.",
        epilog=_EPILOG,
        json=False,
        tier=False,
    )
    parser.add_argument("--name", default=server.DEFAULT_NAME, help="what dockerd calls it (default: %(default)s)")
    parser.add_argument("--home", metavar="DIR", help="keep the layers here (default: where dockerd says)")
    parser.add_argument("--socket", metavar="PATH", help="listen here (default: /run/docker/plugins/NAME.sock)")
    parser.add_argument(
        "--state", metavar="FILE", help="keep the settings that dockerd sends here (default: below /run)"
    )
    parser.add_argument("--debug", action="store_true", help="log each request")
    parser.set_defaults(run=run)


class _Printable(logging.Formatter):
    """Names of layers and what clients send, fit for a terminal and the journal."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return sentence(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        return "\n".join(map(sentence, super().formatException(ei).splitlines()))


def run(args: Namespace) -> int:
    """Serve; 0 after an orderly end."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Printable("%(message)s"))
    logging.basicConfig(level=logging.DEBUG if args.debug else logging.WARNING, handlers=[handler])
    server.serve(server.Settings(args.name, args.home, args.socket, args.state), namespacing_settings)
    return 0
