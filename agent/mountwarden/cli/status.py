"""mountwarden status: what the service does, how, and at what cost."""

import json
import sys
import time
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from ..errors import MountwardenError
from ..escape import seconds
from ..model import SuperblockTest, Tier
from ..observe import processes
from ..output import report_file
from ..output.columns import age, cost, count
from ..service.status import SCHEMA
from ..state.run_directory import RunDirectory, require_uncovered
from ..varlink.client import Unreachable
from . import options, remote
from .service import RunningService

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_EPILOG = """\
exit status:
  0  the service runs
  1  it has ended; its last status is shown
  2  there is no status, or it may not be read
"""
_HINT = "systemctl status mountwarden"


def register(subparsers: "_SubParsersAction[options.Parser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "status",
        help="the service: mode, tier, cost of the last scan, roots and policies, last actions",
        description="Asks the service, or shows its last status where it gives no answer. That needs root or the\n"
        "group systemd-journal.",
        epilog=_EPILOG,
        tier=False,
    )
    options.host(parser)
    parser.set_defaults(run=run)


def run(arguments: Namespace) -> int:
    """Show what the service says, or last said."""
    document, running = asked(arguments.host)
    if arguments.json:
        sys.stdout.write(report_file.dumps({**document, "running": running}))
    else:
        print("\n".join(lines(document, running, time.time())))
    return 0 if running else 1


def asked(host: str | None = None) -> tuple[dict[str, Any], bool]:
    """The service's status, and whether it runs; its last one where it gives no answer now."""
    try:
        with remote.local() if host is None else remote.connect(host) as client:
            return remote.of_schema(RunningService(client, host).status(), SCHEMA, host), True
    except Unreachable:
        if host is not None:
            raise
        document = read()
        return document, processes.is_alive(document["pid"])


def read(run_directory: RunDirectory | None = None) -> dict[str, Any]:
    """The service's status.json.

    Raises: MountwardenError where there is none, or none of ours; PermissionError.
    """
    directory = run_directory or RunDirectory()
    require_uncovered(directory)
    path = directory.status
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise MountwardenError("the service has not run since the boot", hint=_HINT) from None
    except PermissionError:
        raise MountwardenError(
            f"{path} may not be read", hint="run it as root, or in the group systemd-journal"
        ) from None
    try:
        document = json.loads(text)
    except ValueError as error:
        raise MountwardenError(f"{path} is not JSON: {error}", hint=_HINT) from None
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise MountwardenError(f"{path} is not a {SCHEMA}", hint="the service and this command differ in version")
    return document


def lines(status: dict[str, Any], running: bool, now: float) -> list[str]:
    """The status as text. All text of the host in it was made printable when it was written."""
    scan, summary = status["look"], status["summary"]
    state = f"running for {age(now - seconds(status['started']))} (pid {status['pid']})" if running else "not running"
    known = [
        f"service  {state}",
        f"mode     {status['mode']}{_paused(status['paused'])}",
        f"tier     {status['tier']} ({status['tier_reason']})",
        *_umounts(status),
        f"woken    {_woken(status)}",
        *_late(status),
        f"scan     {age(now - seconds(scan['taken']))} ago, {_scan(scan)}",
        f"seen     {', '.join(count(summary[f'{what}s'], noun) for what, noun in _SEEN)}",
        f"findings {status['confirmed']} confirmed; {summary['findings']} with info, silenced and unconfirmed ones",
    ]
    if status["config_kept"]:
        known.append(f"config   wrong, the old one is kept: {status['config_kept']}")
    if status.get("unsaved"):
        known.append(f"unsaved  {status['unsaved']}")
    known += [f"gap      {gap['what']}{_of(gap)}: {gap['reason']} ({gap['count']})" for gap in status["gaps"]]
    known += [_root(root) for root in status["roots"]]
    known += [
        f"alone    {path}: attempts failed; systemctl reload mountwarden lets it try again"
        for path in status["left_alone"]
    ]
    known += [_act(act) for act in status["acts"]]
    return known


def _umounts(status: dict[str, Any]) -> list[str]:
    """What says whether an umount on the host left anything elsewhere; nothing where the service is an older one."""
    if "superblock_test" not in status:
        return []
    way, why = status["superblock_test"], status["superblock_test_reason"]
    checked = "not checked, so all namespaces are read" if way == SuperblockTest.NONE else f"checked by {way}"
    return [f"umounts  {checked} ({why})"]


def _late(status: dict[str, Any]) -> list[str]:
    """What no event tells of: see docs/how-it-works.md."""
    if status["tier"] == Tier.EVENTS:
        return []
    return ["late     what a service changes in its own mount namespace is seen within eight full scans"]


_SEEN = (("root", "root"), ("namespace", "mount namespace"), ("mount", "mount"))


def _woken(status: dict[str, Any]) -> str:
    ways = (("inotify", "directories", "inotify"), ("unit_signals", "services", "system bus"))
    known = "".join(f", {what} ({way})" for key, what, way in ways if status.get(key))
    untold = " and ".join(what for key, what, _way in ways if not status.get(key))
    return f"at once by mounts{known}" + (f"; {untold} only with the tick" if untold else "")


def _scan(scan: dict[str, Any]) -> str:
    whole = "complete" if scan["complete"] else "not complete"
    return f"took {cost(scan['took_seconds'])}, {cost(scan['cpu_seconds'])} of processor time, {whole}"


def _of(gap: dict[str, Any]) -> str:
    return f" of {gap['owner']}" if gap["owner"] else ""


def _paused(pause: dict[str, Any] | None) -> str:
    if pause is None:
        return ""
    until = pause["until"] or "`mountwarden resume`"
    return f", paused until {until}" + (f" ({pause['reason']})" if pause["reason"] else "")


def _root(root: dict[str, Any]) -> str:
    policy = ", ".join(f"{action} {who}" for action, who in (root["policy"] or {}).items())
    state = root["propagation"] or "?"
    trouble = "" if root["status"] == "ok" else f"; {root['status']}"
    return f"root     {root['path']} ({root['engine']}, {root['kind']}): {state}; {policy or 'no policy'}{trouble}"


def _act(act: dict[str, Any]) -> str:
    return f"action   {act['at']} {act['action']} {act['finding']} {act['mountpoint']}: {act['text']}"
