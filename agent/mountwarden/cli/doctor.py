"""mountwarden doctor: what this host can and can't do, what that means, and who will leak the next mount."""

import os
import sys
import time
from argparse import Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import MountwardenError
from ..escape import printable, sentence, timestamp
from ..mounts.mountinfo import propagation
from ..output import doctor_text, report_file, terminal
from ..report import build
from . import options
from .reading import ReadingLine

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from ..doctor.canary import CanaryResult
    from ..doctor.examine import Examination
    from ..doctor.running import EngineRunning
    from ..doctor.unknown import UnknownEngine
    from ..model import RootState
    from ..observe.capabilities import Interface
    from ..predict.next_leaks import NextLeak

_EPILOG = """\
exit status:
  0  nothing failed
  1  something did; its line says what to do

examples:
  mountwarden doctor
  mountwarden doctor --no-canary --json | jq '.foreseen[] | {who, leaks, fix}'
"""


def register(subparsers: "_SubParsersAction[options.Parser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "doctor",
        help="what this host can do, and which units and containers will leak the next mount",
        description="Examines the kernel, systemd, the service, which engines run and whether their roots are known,\n"
        "and every mount namespace; names each unit and container that will leak the next mount, before it does, with\n"
        "the lasting fix. An engine that is not known, and mounts below a directory of its own, is named with the\n"
        "[[root]] entry that would guard it. Then lets a real layer of its own leak, finds it and detaches it.\n"
        "Without root: what can be examined.",
        epilog=_EPILOG,
        tier=False,
    )
    parser.add_argument("--no-canary", action="store_true", help="make no layer and no leak of its own")
    parser.set_defaults(run=run)


def run(arguments: Namespace) -> int:
    """Examine; 1 where something failed."""
    from ..config.schema import Config
    from ..doctor.check import Status
    from ..doctor.examine import Asked, examine
    from ..observe import read_ahead
    from . import configuration, host_view

    read_ahead.allow()
    status, running = _service()
    errors = configuration.errors(arguments)
    named = bool(errors) and configuration.is_named(arguments)
    config = Config() if named else configuration.of(arguments)
    unseen = next((gap.reason for gap in host_view.gaps()), None)
    asked = Asked(arguments.config, status, running, config, errors, unseen, canary=not arguments.no_canary)
    with ReadingLine() as reading:
        found = examine(asked, reading.one_more)
    written = document(found, time.time())
    if arguments.json:
        sys.stdout.write(report_file.dumps(written))
    else:
        sys.stdout.write(doctor_text.render(written, terminal.of(sys.stdout, no_color=arguments.no_color)))
    return 1 if found.worst is Status.FAIL else 0


def _service() -> tuple[Mapping[str, Any] | MountwardenError, bool]:
    from . import status

    try:
        return status.asked()
    except MountwardenError as error:
        return error, False


def document(found: "Examination", now: float) -> doctor_text.DoctorJson:
    """The JSON document. A field that is not known is null, never missing."""
    from .. import __version__
    from ..scan.confirm import host
    from ..scan.scanner import boot_id

    hostname, release = host()
    return {
        "schema": doctor_text.SCHEMA,
        "version": __version__,
        "taken": timestamp(now),
        "host": {"hostname": printable(hostname), "kernel": printable(release), "boot_id": boot_id()},
        "root": os.geteuid() == 0,
        "tier": str(found.scan.tier) if found.scan else None,
        "tier_reason": found.scan.tier_reason if found.scan else None,
        "superblock_test": str(found.superblock_test[0]) if found.superblock_test else None,
        "superblock_test_reason": sentence(found.superblock_test[1]) if found.superblock_test else None,
        "status": str(found.worst),
        "checks": [
            {"id": check.id, "group": check.group, "status": str(check.status), "text": check.text, "hint": check.hint}
            for check in found.checks
        ],
        "interfaces": [_interface(one) for one in found.interfaces],
        "engines": [_engine(one) for one in found.engines],
        "unguarded": [_unguarded(one) for one in found.unknown],
        "foreseen": [_next_leak(one) for one in found.next_leaks],
        "canary": _canary(found.canary) if found.canary else None,
    }


def _interface(one: "Interface") -> doctor_text.InterfaceJson:
    from ..observe.capabilities import NEEDED

    return {
        "name": one.name,
        "available": one.available,
        "errno": one.errno,
        "needed": one.name == NEEDED,
        "meaning": sentence(one.meaning),
    }


def _engine(one: "EngineRunning") -> doctor_text.EngineRunningJson:
    return {
        "engine": one.program.name,
        "of": "user" if one.user is not None else "container" if one.container else "host",
        "user": one.user,
        "container": printable(one.container) if one.container else None,
        "processes": build.holders(one.processes),
        "count": one.many,
        "roots": [_engine_root(state) for state in one.roots],
    }


def _engine_root(state: "RootState") -> doctor_text.EngineRootJson:
    return {
        "path": printable(state.root.path),
        "engine": state.root.engine,
        "kind": str(state.root.kind),
        "status": sentence(state.status),
        "propagation": propagation(state.mount) if state.mount else None,
    }


def _unguarded(one: "UnknownEngine") -> doctor_text.UnguardedJson:
    return {
        "directory": printable(one.directory.path),
        "mounts": len(one.directory.mounts),
        "processes": build.holders(one.processes),
        "layouts": [
            {
                "directory": printable(each.directory),
                "patterns": [printable(pattern) for pattern in each.patterns],
                "fstypes": sorted(printable(fstype) for fstype in each.fstypes),
                "mounts": each.many,
            }
            for each in one.directory.found
        ],
        "entry": one.entry,
        "replaces": [printable(path) for path in one.replaces],
    }


def _next_leak(one: "NextLeak") -> doctor_text.NextLeakJson:
    from ..doctor.roots import name

    return {
        "namespace": one.namespace,
        "kind": "home" if one.at_home is not None else str(one.who.kind),
        "who": name(one),
        "holders": build.holders(one.who.holders),
        "leaks": one.leaks,
        "on_purpose": one.on_purpose,
        "sights": [
            {
                "root": printable(exposure.root.path),
                "engine": exposure.root.engine,
                "at": printable(exposure.at),
                "mount_id": exposure.mount.id,
                "peer_group": exposure.mount.shared or None,
                "master": exposure.mount.master or None,
                "copies": exposure.copies,
            }
            for exposure in one.sights
        ],
        "cause": build.cause(one.cause),
        "fix": one.fix,
    }


def _canary(result: "CanaryResult") -> doctor_text.CanaryJson:
    return {
        "done": result.done,
        "held_by": sentence(result.held_by),
        "text": sentence(result.text) or None,
        "mount_seconds": round(result.mount, 6),
        "find_seconds": round(result.find, 6),
        "detach_seconds": round(result.detach, 6),
    }
