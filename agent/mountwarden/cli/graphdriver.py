"""`mountwarden graphdriver`: Docker's storage plugin in the foreground."""

import argparse
import logging

from ..graphdriver import service


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "graphdriver",
        help="serve Docker's graphdriver plugin protocol",
        description="Serve the overlay driver to dockerd on a unix socket, until SIGTERM. "
        "Then: dockerd --experimental -s NAME. Docker 27 wants DOCKERD_DEPRECATED_GRAPHDRIVER_PLUGINS=1 in its "
        "environment too; Docker 28 has no such plugins any more.",
    )
    parser.add_argument("--name", default=service.DEFAULT_NAME, help="what dockerd calls it (default: %(default)s)")
    parser.add_argument("--home", metavar="DIR", help="keep the layers here (default: where dockerd says)")
    parser.add_argument("--socket", metavar="PATH", help="listen here (default: /run/docker/plugins/NAME.sock)")
    parser.add_argument("--state", metavar="FILE", help="remember what dockerd said here (default: below /run)")
    parser.add_argument("--debug", action="store_true", help="log each request")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve; 0 after an orderly end."""
    logging.basicConfig(level=logging.DEBUG if args.debug else logging.WARNING, format="%(message)s")
    service.serve(service.Settings(args.name, args.home, args.socket, args.state))
    return 0
