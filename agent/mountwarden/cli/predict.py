"""mountwarden predict umount: what an umount would return and do in every namespace, without doing it."""

import os
import sys
from argparse import ArgumentTypeError, Namespace
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..escape import printable, sentence
from ..explain import naming
from ..output import phrases, report_file
from ..output.columns import count, wrap
from ..report import build
from . import host_view, options, session

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from ..mounts.graph import PlacedMount
    from ..predict.occupants import Occupant
    from ..predict.umount import Forecast, Left, Space

_EPILOG = """\
exit status:
  0  it would succeed
  1  it would fail: the file system is busy
  2  nothing is mounted there, or it could not be found out

examples:
  mountwarden predict umount /mnt/volume
  mountwarden predict umount --lazy /var/lib/docker/overlay2/0123456789ab/merged
"""
_MOST = 10
"""Things of a kind that are listed one by one; the rest is counted."""
_COLUMNS = 100
_STATUS = {"ok": 0, "busy": 1, "not-mounted": 2}


def register(subparsers: "_SubParsersAction[options.Parser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "predict",
        help="what an umount would do: succeed or fail, what it reaches, what it leaves behind",
        description="Says what an umount would do, in all mount namespaces. Changes nothing.",
        epilog=_EPILOG,
    )
    parser.add_argument("act", choices=["umount"], help="what would be done")
    parser.add_argument("path", metavar="PATH", type=os.fsencode, help="where the file system is mounted on the host")
    parser.add_argument("--lazy", action="store_true", help="as umount --lazy (MNT_DETACH)")
    parser.add_argument(
        "--namespace", metavar="PID", type=_pid, help="in the mount namespace of that process (PATH as it is there)"
    )
    options.snapshot(parser)
    parser.set_defaults(run=run)


def _pid(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 1 << 31:
        raise ArgumentTypeError(f"{text!r} is not a process id")
    return int(text)


def run(arguments: Namespace) -> int:
    """Say what would happen."""
    from ..observe import read_ahead
    from ..predict.umount import umount

    if arguments.snapshot is not None:
        forecast = _stored(arguments)
    else:
        session.need_root("mountwarden predict")
        read_ahead.allow()
        forecast = umount(arguments.path, lazy=arguments.lazy, pid=arguments.namespace)
        forecast = replace(forecast, gaps=forecast.gaps + host_view.gaps())
    sys.stdout.write(report_file.dumps(document(forecast)) if arguments.json else text(forecast))
    return _STATUS[_answer(forecast)]


def _stored(arguments: Namespace) -> "Forecast":
    """Of a snapshot: of why a copy would stay, it has only what its mounts show."""
    from ..predict.umount import answer
    from ..snapshot import all_mounts, file

    taken = file.read(arguments.snapshot)
    seen, pid = all_mounts.seen(taken), arguments.namespace
    inode = seen.own if pid is None else all_mounts.namespace_of(taken, pid)
    return answer(arguments.path, seen, lazy=arguments.lazy, inode=inode, pid=pid)


def _answer(forecast: "Forecast") -> str:
    return str(forecast.answer) if forecast.answer is not None else "not-mounted"


def document(forecast: "Forecast") -> dict[str, Any]:
    """The JSON document. `below` are mounts that make it busy; where there are `gaps`, more may be reached or left."""
    return {
        "schema": "mountwarden.predict/1",
        "answer": _answer(forecast),
        "path": printable(forecast.path),
        "lazy": forecast.lazy,
        "because": build.holders(one.holder for one in forecast.because if one.holder is not None),
        "devices": [{"device": one.how, "path": printable(one.path)} for one in forecast.because if one.holder is None],
        "below": [_place(place) for place in forecast.below],
        "reached": [_place(place) for place in forecast.reached],
        "left": [_place(one.place) | {"why": str(one.why)} for one in forecast.left],
        "namespaces": [_space(inode, space) for inode, space in forecast.spaces.items()],
        "locks_inferred": forecast.inferred,
        "complete": not forecast.gaps,
        "gaps": build.all_gaps(forecast.gaps),
    }


def _place(place: "PlacedMount") -> dict[str, Any]:
    return {"namespace": place.namespace, "mount_id": place.mount.id, "seen_at": printable(place.mount.point)}


def _space(inode: int, space: "Space") -> dict[str, Any]:
    return {
        "inode": inode,
        "kind": str(space.members.kind),
        "holders": build.holders(space.members.holders),
        "cause": build.cause(space.cause),
    }


_INFERRED = "  this depends on which mounts user namespaces lock, which is inferred: the kernel does not show it"


def text(forecast: "Forecast") -> str:
    """As text: a sentence for the answer, then what makes it busy, what goes with it, and what stays and why."""
    lines = [_sentence(forecast)]
    lines += _some("busy", [_why_busy(forecast, one) for one in forecast.because])
    lines += _some(
        "busy", [f"{place.mount.fstype} mounted at {printable(place.mount.point)}" for place in forecast.below]
    )
    lines += _reached(forecast)
    lines += _left(forecast)
    lines += [_INFERRED] if forecast.inferred else []
    return "\n".join([*lines, *map(phrases.gap, build.all_gaps(forecast.gaps))]) + "\n"


def _sentence(forecast: "Forecast") -> str:
    what = f"{'umount --lazy' if forecast.lazy else 'umount'} of {printable(forecast.path)}"
    if forecast.answer is None:
        on = (
            f"; it lies on what is mounted at {printable(forecast.inside.point)}" if forecast.inside is not None else ""
        )
        return f"{what} would fail: nothing is mounted there{on}"
    if forecast.answer == "busy":
        copies = (
            not forecast.below
            and forecast.mount is not None
            and all(one.mount != forecast.mount.id for one in forecast.because)
        )
        return f"{what} would fail: {'a copy that it reaches' if copies else 'it'} is busy"
    reached = f"reach {count(len(forecast.reached), 'copy', 'copies')}" if forecast.reached else "reach no copy"
    left = f"leave {count(len(forecast.left), 'copy', 'copies') if forecast.left else 'nothing'} behind"
    return f"{what} would succeed, {reached} and {left}"


def _why_busy(forecast: "Forecast", one: "Occupant") -> str:
    if one.holder is None:
        what = "swap" if one.how == "swap" else f"/dev/{one.how}"
        return f"{what} is on its file {printable(one.path)}"
    on = "" if forecast.mount is not None and one.mount == forecast.mount.id else " on the copy in its namespace"
    how = _HOW.get(one.how) or f"its descriptor {one.how.removeprefix('fd ')}"
    seen = f", {printable(one.path)}" if one.path else ""
    return f"{naming.process_in_full(one.holder)} has {how}{on}{seen}"


_HOW = {
    "cwd": "its working directory",
    "root": "its root",
    "exe": "its executable",
    "map": "a mapped file",
    "socket": "a bound socket",
}


def _reached(forecast: "Forecast") -> list[str]:
    by_namespace: dict[int, list[PlacedMount]] = {}
    for place in forecast.reached:
        by_namespace.setdefault(place.namespace, []).append(place)
    return _some("also goes", [f"{_mounts(some)} in {_who(forecast, inode)}" for inode, some in by_namespace.items()])


def _left(forecast: "Forecast") -> list[str]:
    """By namespace and reason, the cause below it; then what takes away all that is left on the same directory."""
    grouped: dict[tuple[int, str], list[Left]] = {}
    for one in forecast.left:
        grouped.setdefault((one.place.namespace, str(one.why)), []).append(one)
    lines = []
    for (inode, why), some in list(grouped.items())[:_MOST]:
        lines.append(f"  stays: {_mounts([one.place for one in some])} in {_who(forecast, inode)}")
        cause = forecast.spaces[inode].cause if why == "severed" else None
        lines += wrap(sentence(cause.text) if cause else _WHY[why], _COLUMNS, first="    why: ", rest="         ")
    if len(grouped) > _MOST:
        lines.append(f"  stays: {len(grouped) - _MOST:,} more")
    if any(why != "elsewhere" for _inode, why in grouped):
        lines.append("  what stays on the same directory goes when that is removed (rmdir), in all namespaces")
    return lines


_WHY = {
    "inside": "Something is mounted in it that stays.",
    "locked": "Its user namespace may not lose it alone, and what it is mounted on stays.",
    "covered": "The umount takes the lowest mount on that directory, and this one is upon another.",
    "severed": "What it is mounted on receives no umounts from here.",
    "elsewhere": "It is mounted on another directory, which this umount does not concern.",
}


def _mounts(places: "list[PlacedMount]") -> str:
    first = f"{printable(places[0].mount.point)} (mount {places[0].mount.id})"
    return first + (f" and {count(len(places) - 1, 'more mount')}" if len(places) > 1 else "")


def _who(forecast: "Forecast", inode: int) -> str:
    """Whose namespace it is."""
    members = forecast.spaces[inode].members
    name = naming.name_of(members.holders, inode, members.more)
    return f"the namespace of {name}" if members.holders else name


def _some(title: str, texts: list[str]) -> list[str]:
    lines = [f"  {title}: {line}" for line in texts[:_MOST]]
    return lines + ([f"  {title}: {len(texts) - _MOST:,} more"] if len(texts) > _MOST else [])
