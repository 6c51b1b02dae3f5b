"""mountwarden doctor: what this host can and can't do, what that means, and who will leak the next mount."""

import os
import sys
import time
from argparse import Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import MountwardenError
from ..escape import timestamp
from ..output import doctor_text, report_file, terminal
from ..report import build
from . import options

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from ..doctor.canary import CanaryResult
    from ..doctor.examine import Examination
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
        description="Looks at the kernel, systemd, the service, the engines' roots, and every mount namespace; names\n"
        "each unit and container that will leak the next mount, before it does, with what ends that for good. Then\n"
        "lets a real layer of its own leak, finds it and detaches it. Without root: what can be looked at.",
        epilog=_EPILOG,
        tier=False,
    )
    parser.add_argument("--no-canary", action="store_true", help="make no layer and no leak of its own")
    parser.set_defaults(run=run)


def run(arguments: Namespace) -> int:
    """Examine; 1 where something failed."""
    from ..doctor.check import Status
    from ..doctor.examine import Asked, examine

    status, running = _service()
    found = examine(Asked(arguments.config, status, running, canary=not arguments.no_canary))
    told = document(found, time.time())
    if arguments.json:
        sys.stdout.write(report_file.dumps(told))
    else:
        sys.stdout.write(doctor_text.render(told, terminal.of(sys.stdout, no_color=arguments.no_color)))
    return 1 if found.worst is Status.FAIL else 0


def _service() -> tuple[Mapping[str, Any] | MountwardenError, bool]:
    from . import status

    try:
        told = status.read()
    except MountwardenError as error:
        return error, False
    return told, report_file.alive(told["pid"])


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
        "host": {"hostname": hostname, "kernel": release, "boot_id": boot_id()},
        "root": os.geteuid() == 0,
        "tier": str(found.scan.tier) if found.scan else None,
        "tier_reason": found.scan.tier_reason if found.scan else None,
        "status": str(found.worst),
        "checks": [
            {"id": check.id, "group": check.group, "status": str(check.status), "text": check.text, "hint": check.hint}
            for check in found.checks
        ],
        "interfaces": [_interface(one) for one in found.interfaces],
        "foreseen": [_foreseen(one) for one in found.foreseen],
        "canary": _canary(found.song) if found.song else None,
    }


def _interface(one: "Interface") -> doctor_text.InterfaceJson:
    from ..escape import sentence
    from ..observe.capabilities import NEEDED

    return {
        "name": one.name,
        "available": one.available,
        "errno": one.errno,
        "needed": one.name == NEEDED,
        "meaning": sentence(one.meaning),
    }


def _foreseen(one: "NextLeak") -> doctor_text.NextLeakJson:
    from ..doctor.roots import name
    from ..escape import printable, sentence

    return {
        "namespace": one.namespace,
        "kind": "home" if one.at_home is not None else str(one.who.kind),
        "who": name(one),
        "holders": build.holders(one.who.holders),
        "leaks": one.leaks,
        "on_purpose": one.on_purpose,
        "sights": [
            {
                "root": printable(sight.root.path),
                "engine": sight.root.engine,
                "at": printable(sight.at),
                "mount_id": sight.mount.id,
                "peer_group": sight.mount.shared or None,
                "master": sight.mount.master or None,
                "copies": sight.copies,
            }
            for sight in one.sights
        ],
        "cause": {"code": one.cause.code, "text": sentence(one.cause.text)} if one.cause else None,
        "fix": one.fix,
    }


def _canary(song: "CanaryResult") -> doctor_text.CanaryJson:
    from ..escape import sentence

    return {
        "done": song.done,
        "held_by": sentence(song.held_by),
        "text": sentence(song.text) or None,
        "mount_seconds": round(song.mount, 6),
        "find_seconds": round(song.find, 6),
        "detach_seconds": round(song.detach, 6),
    }
