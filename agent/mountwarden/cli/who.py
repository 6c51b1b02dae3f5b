"""mountwarden who: what keeps a file system, a device or a layer busy, in any namespace."""

import sys
from argparse import Namespace
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..escape import printable, sentence
from ..explain import naming
from ..output import phrases, report_file, terminal
from ..output.columns import count, wrap
from ..report import build
from . import host_view, options, session

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from ..busy.answer import BusyReport, Keeper

_EPILOG = """\
Mounts, open files, working directories, roots, executables, mapped files, bound sockets, swap, loop devices, mounts
stacked on or below it, overlays made of it, and devices on top of it: each with its unit and container, and what would
release it. What an umount here takes along, and nothing is busy in, is named last and counts for nothing.
A bind mount, or one of proc, sysfs and the like, means that mount alone; a file of /run/netns, or net:[4026531840],
that namespace, and who lives in it.
Exit status 0 nothing keeps it busy, 1 something does, 2 it could not be found out.

examples:
  mountwarden who /dev/loop0
  mountwarden who /var/lib/docker/overlay2/0123456789ab/merged
"""


def register(subparsers: "_SubParsersAction[options.Parser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "who",
        help="what keeps a file system, device or layer busy, in any namespace",
        description="Lists everything that keeps a file system, a device or a layer busy.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "what",
        metavar="PATH|DEVICE|CONTAINER|MOUNT-ID",
        help="what is busy; a path of the host; a container, pod or instance by its name, id or the beginning of its "
        "id, of root or of any user; a mount by its small or unique id",
    )
    parser.set_defaults(run=run)


def run(arguments: Namespace) -> int:
    """List what keeps it busy."""
    from ..busy import find
    from ..observe import read_ahead

    session.need_root("mountwarden who")
    read_ahead.allow()
    answer = find.who(arguments.what, lambda: session.roots(arguments))
    answer = replace(answer, gaps=answer.gaps + host_view.gaps())
    if arguments.json:
        sys.stdout.write(report_file.dumps(document(answer)))
    else:
        sys.stdout.write(text(answer, terminal.of(sys.stdout).columns))
    return 1 if answer.keepers else 0


def text(answer: "BusyReport", columns: int = 80) -> str:
    """As text: what and where, who, what would release it; then what needs nothing, since it goes along."""
    lines = wrap(_heading(answer), columns, rest="  ", whole=True)
    for keeper, *more in _grouped(answer):
        where = ", ".join(map(_where, (keeper, *more))) + _whose(answer, keeper)
        lines += wrap(where, columns, first=f"  {keeper.how:8} ", rest=_INDENT, whole=True)
        if held_by := "; ".join(map(naming.process_in_full, keeper.holders)):
            lines += wrap(f"held by {held_by}", columns, first=_INDENT, rest=_INDENT)
        lines += wrap(f"to release it: {sentence(keeper.needs)}", columns, first=_INDENT, rest=_INDENT)
        lines += [f"{_INDENT}{keeper.command}"] if keeper.command else []  # not wrapped: it is to be pasted
    if answer.followers:
        names = ", ".join(dict.fromkeys(sentence(one.name) for one in answer.followers))
        here = "on the host" if answer.is_host else "here"
        lines += wrap(f"  goes along with an umount {here}, and keeps nothing busy: {names}", columns, rest=_INDENT)
    for gap in build.all_gaps(answer.gaps):
        lines += wrap(phrases.gap(gap), columns, rest=_INDENT)
    return "\n".join(lines) + "\n"


_INDENT = " " * 11


def _grouped(answer: "BusyReport") -> Iterable[list["Keeper"]]:
    """Mounts of one other namespace that one thing releases are one entry; those here are unmounted one by one."""
    groups: dict[object, list[Keeper]] = {}
    for number, one in enumerate(answer.keepers):
        elsewhere = one.how in _MOUNTS and one.namespace not in (None, answer.own)
        key = (one.how, one.namespace, one.needs, one.command) if elsewhere else number
        groups.setdefault(key, []).append(one)
    return groups.values()


def _where(keeper: "Keeper") -> str:
    return printable(keeper.where) + (f" ({sentence(keeper.detail.strip())})" if keeper.detail else "")


_MOUNTS = ("mount", "stacked", "overlay")


def _whose(answer: "BusyReport", keeper: "Keeper") -> str:
    """In which namespace a path is to be read."""
    if keeper.how in _MOUNTS:
        name = answer.names.get(keeper.namespace or 0)
        space = "" if name and name.startswith("mount namespace") else "the mount namespace of "
        return f", in {space}{sentence(name)}" if name else ""
    seen = keeper.namespace not in (None, answer.own) and keeper.how not in ("device", "lives")
    return ", as its process sees it" if seen else ""


def _heading(answer: "BusyReport") -> str:
    target = answer.target
    part = f", {printable(target.path)} in it" if target.path else ""
    what = f"device {target.device}{part}{', this mount of it alone' if target.mounts is not None else ''}"
    what = f"namespace {target.space[0]}:[{target.space[1]}]" if target.space else what
    kept = f"kept busy by {count(len(answer.keepers), 'thing')}" if answer.keepers else "kept busy by nothing"
    return (
        f"{sentence(target.meant)}, {what}: {kept}" if target.meant else f"{printable(target.asked)} ({what}): {kept}"
    )


def document(answer: "BusyReport") -> dict[str, Any]:
    """The JSON document. A field that is not known is null, never missing."""
    target = answer.target
    return {
        "schema": "mountwarden.who/1",
        "asked": printable(target.asked),
        "meant": sentence(target.meant) or None,
        "device": target.device,
        "path": printable(target.path) if target.path is not None else None,
        "complete": not answer.gaps,
        "keepers": [_keeper(keeper) for keeper in answer.keepers],
        "goes_along": [
            {
                "namespace": one.namespace,
                "mount_id": one.mount,
                "seen_at": printable(one.where),
                "holders": build.holders(one.holders),
            }
            for one in answer.followers
        ],
        "gaps": build.all_gaps(answer.gaps),
    }


def _keeper(keeper: "Keeper") -> dict[str, Any]:
    return {
        "how": keeper.how,
        "where": printable(keeper.where),
        "detail": sentence(keeper.detail.strip()) or None,
        "needs": sentence(keeper.needs),
        "command": keeper.command,
        "namespace": keeper.namespace,
        "mount_id": keeper.mount,
        "holders": build.holders(keeper.holders),
    }
