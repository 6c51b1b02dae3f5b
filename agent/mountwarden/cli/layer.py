"""`mountwarden layer`: the overlay driver for people and scripts."""

import argparse
import bz2
import contextlib
import gzip
import io
import json
import lzma
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast

from ..errors import MountwardenError
from ..graphdriver.driver import Change, ChangeKind
from ..graphdriver.overlay import OverlayDriver
from .progress import Progress

DEFAULT_HOME = "/var/lib/mountwarden/layers"
_LETTERS = {ChangeKind.MODIFY: "C", ChangeKind.ADD: "A", ChangeKind.DELETE: "D"}  # as `docker diff` shows them
_MAGIC: dict[bytes, Callable[[Any], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command with its own commands."""
    parser = subparsers.add_parser(
        "layer",
        help="make, mount, compare and remove layers",
        description="The overlay graphdriver by hand. Uses are not counted between two commands: "
        "`get` of a layer that is mounted shows where, `put` detaches it.",
    )
    parser.add_argument("--home", metavar="DIR", default=DEFAULT_HOME, help="the layers' place (default: %(default)s)")
    commands = parser.add_subparsers(dest="layer_command", metavar="COMMAND", required=True)
    _add(commands, "create", _create, "make a layer, empty or on top of another", "ID").add_argument(
        "parent", metavar="PARENT", nargs="?", default="", help="the layer below"
    )
    get = _add(commands, "get", _get, "mount a layer and print its path", "ID")
    get.add_argument("--label", default="", metavar="CONTEXT", help="SELinux context of the mount")
    _add(commands, "put", _put, "detach a layer, in every mount namespace", "ID")
    for name, call, text in (("diff", _diff, "write what a layer changed, as a tar"), ("changes", _changes, "list it")):
        _with_parent(_add(commands, name, call, text, "ID"))
    _file(commands.choices["diff"], "write to FILE", "-o")
    apply = _add(commands, "apply", _apply, "make an image of a fresh layer from a layer tar", "ID")
    _with_parent(apply)
    _file(apply, "read FILE, plain or packed by gzip, bzip2 or xz", "-i")
    apply.add_argument("--max-size", type=int, metavar="BYTES", help="refuse a tar that holds more")
    _add(commands, "metadata", _metadata, "show the directories of a layer", "ID")
    _add(commands, "status", _status, "show what the driver found about its home")
    _add(commands, "ls", _ls, "list the layers")
    rm = _add(commands, "rm", _rm, "remove layers, their mounts too")
    rm.add_argument("ids", metavar="ID", nargs="+")
    for name in ("changes", "metadata", "status", "ls"):
        commands.choices[name].add_argument("--json", action="store_true", help="print JSON")


def _add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    call: Callable[[OverlayDriver, argparse.Namespace], int],
    text: str,
    *ids: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    for name in ids:
        parser.add_argument("id", metavar=name, help="the layer")
    parser.set_defaults(run=lambda args: call(_driver(args), args))
    return parser


def _with_parent(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--parent", metavar="ID", help="compare with this layer, '' with nothing (default: what it was created on)"
    )


def _file(parser: argparse.ArgumentParser, text: str, flag: str) -> None:
    parser.add_argument(flag, "--file", metavar="FILE", default="-", help=f"{text} (default: the standard stream)")


def _driver(args: argparse.Namespace) -> OverlayDriver:
    return OverlayDriver.init(args.home)


def _parent(driver: OverlayDriver, args: argparse.Namespace) -> str:
    if args.parent is not None:
        return str(args.parent)
    return driver.parent(args.id) or ""


def _create(driver: OverlayDriver, args: argparse.Namespace) -> int:
    driver.create(args.id, args.parent)
    return 0


def _get(driver: OverlayDriver, args: argparse.Namespace) -> int:
    sys.stdout.buffer.write(driver.get(args.id, args.label) + b"\n")
    sys.stdout.flush()
    return 0


def _put(driver: OverlayDriver, args: argparse.Namespace) -> int:
    while driver.put(args.id):
        pass
    return 0


def _diff(driver: OverlayDriver, args: argparse.Namespace) -> int:
    with _output(args.file) as out:
        driver.diff(args.id, _parent(driver, args), out)
        out.flush()
    return 0


def _changes(driver: OverlayDriver, args: argparse.Namespace) -> int:
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


def _apply(driver: OverlayDriver, args: argparse.Namespace) -> int:
    with _input(args.file) as (stream, total), Progress(total) as progress:
        driver.apply_diff(
            args.id, _parent(driver, args), stream, maximum_bytes=args.max_size, progress=progress.callback
        )
    return 0


def _metadata(driver: OverlayDriver, args: argparse.Namespace) -> int:
    return _print_pairs(list(driver.get_metadata(args.id).items()), as_json=args.json)


def _status(driver: OverlayDriver, args: argparse.Namespace) -> int:
    return _print_pairs(driver.status(), as_json=args.json)


def _ls(driver: OverlayDriver, args: argparse.Namespace) -> int:
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


def _rm(driver: OverlayDriver, args: argparse.Namespace) -> int:
    status = 0
    for layer in args.ids:
        if driver.exists(layer):
            driver.remove(layer)
        else:
            print(f"mountwarden: there is no layer {layer}", file=sys.stderr)
            status = 1
    return status


def _print_pairs(pairs: list[tuple[str, str]], *, as_json: bool) -> int:
    if as_json:
        return _print_json(dict(pairs))
    for key, value in pairs:
        print(f"{key}: {value}")
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
        raise MountwardenError("a tar is nothing for a terminal", hint="redirect it, or give -o FILE")
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
