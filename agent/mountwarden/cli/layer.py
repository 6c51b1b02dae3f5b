"""`mountwarden layer`: the overlay driver for users and scripts."""

import bz2
import contextlib
import gzip
import io
import json
import lzma
import os
import sys
import zlib
from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from ..errors import MountwardenError
from ..escape import sentence
from ..graphdriver.driver import Change, ChangeKind
from ..graphdriver.overlay import OverlayDriver
from ..graphdriver.tar.format import BadArchive
from . import options
from .progress import Progress

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_EPILOG = """\
An archive is read plain or packed by gzip, bzip2 or xz.

examples:
  mountwarden layer create base
  docker export busy | mountwarden layer apply base
  mountwarden layer create work base && ls "$(mountwarden layer get work)"
  mountwarden layer diff work -o work.tar && mountwarden layer rm work base
"""

DEFAULT_HOME = "/var/lib/mountwarden/layers"
_LETTERS = {ChangeKind.MODIFY: "C", ChangeKind.ADD: "A", ChangeKind.DELETE: "D"}  # as `docker diff` shows them
_MAGIC: dict[bytes, Callable[[Any], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}


def register(subparsers: "_SubParsersAction[options.Parser]") -> None:
    """Add the command with its own commands."""
    parser = subparsers.add_parser(
        "layer",
        help="make, mount, compare and remove layers",
        description="The overlay graphdriver by hand. Uses are not counted between two commands:\n"
        "`get` of a layer that is mounted prints where, `put` detaches it.",
        epilog=_EPILOG,
        json=False,
        tier=False,
    )
    parser.add_argument(
        "--home", metavar="DIR", default=DEFAULT_HOME, help="the directory of the layers (default: %(default)s)"
    )
    commands = parser.add_subparsers(metavar="COMMAND", title="commands", required=True, parser_class=options.Parser)
    create = _add(commands, "create", _create, "make a layer, empty or on top of another")
    create.add_argument("parent", metavar="PARENT", nargs="?", default="", help="the layer below")
    get = _add(commands, "get", _get, "mount a layer and print its path")
    get.add_argument("--label", default="", metavar="CONTEXT", help="SELinux context of the mount")
    _add(commands, "put", _put, "detach a layer, in every mount namespace")
    _files(commands)
    changes = _add(commands, "changes", _changes, "list what a layer changed", json=True)
    _with_parent(changes)
    _add(commands, "metadata", _metadata, "show the directories of a layer", json=True)
    _add(commands, "status", _status, "show what the driver found about its home", json=True, layer=False)
    _add(commands, "ls", _ls, "list the layers", json=True, layer=False)
    rm = _add(commands, "rm", _rm, "remove layers, their mounts too", layer=False)
    rm.add_argument("ids", metavar="ID", nargs="+", help="the layers")


def _files(commands: "_SubParsersAction[options.Parser]") -> None:
    diff = _add(commands, "diff", _diff, "write what a layer changed, as a tar")
    diff.add_argument("-o", "--output", dest="file", metavar="FILE", default="-", help="write here, not to stdout")
    _with_parent(diff)
    apply = _add(commands, "apply", _apply, "make an image of a new layer from a layer tar")
    apply.add_argument("-i", "--input", dest="file", metavar="FILE", default="-", help="read here, not from stdin")
    apply.add_argument("--max-size", type=int, metavar="BYTES", help="refuse a tar that holds more")
    _with_parent(apply)


def _add(
    commands: "_SubParsersAction[options.Parser]",
    name: str,
    call: Callable[[OverlayDriver, Namespace], int],
    text: str,
    *,
    json: bool = False,
    layer: bool = True,
) -> options.Parser:
    description = f"{text[0].upper()}{text[1:]}."
    parser = commands.add_parser(name, help=text, description=description, json=json, tier=False)
    if layer:
        parser.add_argument("id", metavar="ID", help="the layer")
    parser.set_defaults(run=lambda args: call(_driver(args), args))
    return parser


def _with_parent(parser: options.Parser) -> None:
    parser.add_argument("--parent", metavar="ID", help="the layer below, '' for none (default: as it was created)")


def _driver(args: Namespace) -> OverlayDriver:
    return OverlayDriver.init(args.home)


def _parent(driver: OverlayDriver, args: Namespace) -> str:
    if args.parent is not None:
        return str(args.parent)
    return driver.parent(args.id) or ""


def _create(driver: OverlayDriver, args: Namespace) -> int:
    driver.create(args.id, args.parent)
    return 0


def _get(driver: OverlayDriver, args: Namespace) -> int:
    sys.stdout.buffer.write(driver.get(args.id, args.label) + b"\n")
    sys.stdout.flush()
    return 0


def _put(driver: OverlayDriver, args: Namespace) -> int:
    while driver.put(args.id):
        pass
    return 0


def _diff(driver: OverlayDriver, args: Namespace) -> int:
    with _output(args.file) as out:
        driver.diff(args.id, _parent(driver, args), out)
        out.flush()
    return 0


def _changes(driver: OverlayDriver, args: Namespace) -> int:
    found = driver.changes(args.id, _parent(driver, args))
    if args.json:
        return _print_json([_as_json(change) for change in found])
    for change in found:
        print(_LETTERS[change.kind], _shown(change.path))
    return 0


def _as_json(change: Change) -> dict[str, str]:
    return {"path": _shown(change.path), "kind": change.kind.name.lower()}


def _shown(path: bytes) -> str:
    """UTF-8 where it is valid and printable, else bytes as \\xNN."""
    text = path.decode("utf-8", "surrogateescape")
    return "".join(c if c.isprintable() and c != "\\" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


def _apply(driver: OverlayDriver, args: Namespace) -> int:
    with _input(args.file) as (stream, total), Progress(total) as progress:
        try:
            driver.apply_diff(
                args.id, _parent(driver, args), stream, maximum_bytes=args.max_size, progress=progress.callback
            )
        except (EOFError, zlib.error, lzma.LZMAError) as error:
            raise BadArchive(f"the archive is not packed as it says: {error}") from error
    return 0


def _metadata(driver: OverlayDriver, args: Namespace) -> int:
    return _print_pairs(list(driver.get_metadata(args.id).items()), as_json=args.json)


def _status(driver: OverlayDriver, args: Namespace) -> int:
    return _print_pairs(driver.status(), as_json=args.json)


def _ls(driver: OverlayDriver, args: Namespace) -> int:
    mounted = set(driver.mounted())
    layers = driver.layers()
    if args.json:
        return _print_json([_facts(driver, layer, layer in mounted) for layer in layers])
    for layer in layers:
        print(layer, "mounted" if layer in mounted else "-")
    return 0


def _facts(driver: OverlayDriver, layer: str, mounted: bool) -> dict[str, Any]:
    kind = "image" if "RootDir" in driver.get_metadata(layer) else "container"
    return {"id": layer, "parent": driver.parent(layer), "kind": kind, "mounted": mounted}


def _rm(driver: OverlayDriver, args: Namespace) -> int:
    status = 0
    for layer in args.ids:
        if driver.exists(layer):
            driver.remove(layer)
        else:
            print(f"mountwarden: there is no layer {sentence(layer)}", file=sys.stderr)
            status = 1
    return status


def _print_pairs(pairs: list[tuple[str, str]], *, as_json: bool) -> int:
    if as_json:
        return _print_json(dict(pairs))
    for key, value in pairs:
        print(f"{key}: {sentence(value)}")
    return 0


def _print_json(value: object) -> int:
    print(json.dumps(value, indent=2))
    return 0


@contextlib.contextmanager
def _output(name: str) -> Iterator[BinaryIO]:
    if name != "-":
        with open(name, "wb") as file:
            yield file
        return
    if sys.stdout.isatty():
        raise MountwardenError("a tar is not written to a terminal", hint="redirect it, or give -o FILE")
    yield sys.stdout.buffer


@contextlib.contextmanager
def _input(name: str) -> Iterator[tuple[BinaryIO, int | None]]:
    """The tar, unpacked if it is packed; and how many bytes it has, where that is known."""
    with contextlib.ExitStack() as stack:
        raw = sys.stdin.buffer if name == "-" else stack.enter_context(open(name, "rb"))
        file = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(cast("io.RawIOBase", raw))
        head = file.peek(8)
        for magic, unpack in _MAGIC.items():
            if head.startswith(magic):
                yield stack.enter_context(unpack(file)), None
                return
        yield file, os.fstat(file.fileno()).st_size or None
