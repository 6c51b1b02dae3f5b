"""mountwarden who: what keeps a file system, a device or a layer busy, in any namespace."""

import sys
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from ..escape import printable, sentence
from ..explain import naming
from ..output import phrases, report_file
from ..output.columns import count
from ..report import build
from . import options, session

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from ..busy.answer import BusyReport, Keeper

_EPILOG = """\
Mounts, open files, working directories, roots, executables, mapped files, swap, loop devices, mounts stacked on or
below it, overlays made of it, and devices on top of it: each with its unit and container, and what would release it.
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
        help="what is busy; a container by its name or id, a mount by its small or unique id",
    )
    parser.set_defaults(run=run)


def run(arguments: Namespace) -> int:
    """List what keeps it busy."""
    from ..busy import find

    session.need_root("mountwarden who")
    answer = find.who(arguments.what, lambda: session.roots(arguments))
    if arguments.json:
        sys.stdout.write(report_file.dumps(document(answer)))
    else:
        sys.stdout.write(text(answer))
    return 1 if answer.keepers else 0


def text(answer: "BusyReport") -> str:
    """As text: a line of what and where, a line of who, a line of what would release it."""
    lines = [_heading(answer)]
    for keeper in answer.keepers:
        detail = f" ({sentence(keeper.detail.strip())})" if keeper.detail else ""
        lines.append(f"  {keeper.how:8} {printable(keeper.where)}{detail}")
        if held_by := "; ".join(map(naming.process_in_full, keeper.holders)):
            lines.append(f"           held by {held_by}")
        lines.append(f"           to release it: {sentence(keeper.needs)}")
    lines += map(phrases.gap, build.all_gaps(answer.gaps))
    return "\n".join(lines) + "\n"


def _heading(answer: "BusyReport") -> str:
    part = f", {printable(answer.target.path)} in it" if answer.target.path else ""
    kept = f"kept busy by {count(len(answer.keepers), 'thing')}" if answer.keepers else "kept busy by nothing"
    return f"{printable(answer.target.asked)} (device {answer.target.device}{part}): {kept}"


def document(answer: "BusyReport") -> dict[str, Any]:
    """The JSON document. A field that is not known is null, never missing."""
    target = answer.target
    return {
        "schema": "mountwarden.who/1",
        "asked": printable(target.asked),
        "device": target.device,
        "path": printable(target.path) if target.path is not None else None,
        "complete": not answer.gaps,
        "keepers": [_keeper(keeper) for keeper in answer.keepers],
        "gaps": build.all_gaps(answer.gaps),
    }


def _keeper(keeper: "Keeper") -> dict[str, Any]:
    return {
        "how": keeper.how,
        "where": printable(keeper.where),
        "detail": sentence(keeper.detail.strip()) or None,
        "needs": sentence(keeper.needs),
        "namespace": keeper.namespace,
        "mount_id": keeper.mount,
        "holders": build.holders(keeper.holders),
    }
