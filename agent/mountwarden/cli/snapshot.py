"""mountwarden snapshot: this host's picture in one file, for report, explain and predict elsewhere."""

import sys
from argparse import Namespace
from dataclasses import replace
from typing import TYPE_CHECKING

from ..escape import printable
from ..output import report_file
from ..report import build, types
from . import options

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from ..snapshot.contents import Snapshot

_EPILOG = """\
The file is JSON, for its owner alone. It holds mounts, namespaces, and the processes, units and containers that keep
them; options and sources of mounts only where they are known to be harmless; never command lines or environments.

examples:
  mountwarden snapshot host.json
  mountwarden snapshot --anonymous host.json
  mountwarden report --from host.json
  ssh HOST sudo mountwarden snapshot - | mountwarden report --from -
"""


def register(subparsers: "_SubParsersAction[options.Parser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "snapshot",
        help="this host's picture in one file, which report, explain and predict --from can use elsewhere",
        description="Scans as report does, and writes what the scan saw to a file.",
        epilog=_EPILOG,
    )
    parser.add_argument("file", metavar="FILE", help="the file to write; - for stdout")
    parser.add_argument(
        "--anonymous", action="store_true", help="other names for paths, units, containers and the host; the same "
        "name is the same within the file, and different in the next"
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="replace the file if it is there, and a regular file")
    options.waiting(parser)
    parser.set_defaults(run=run)


def run(arguments: Namespace) -> int:
    """Take the snapshot and write it. Raises: MountwardenError; OSError."""
    from ..snapshot import file
    from . import session

    session.need_root("a snapshot")
    name = getattr(arguments, "file_name", arguments.file)
    file.check(arguments.file, name, force=arguments.force)
    taken = take(arguments)
    size = file.write(arguments.file, taken, name, force=arguments.force)
    if name != file.STREAM:
        _print(arguments, name, taken, size)
    return 0


def take(arguments: Namespace) -> "Snapshot":
    """A snapshot of a scan now. Raises: MountwardenError; OSError."""
    from ..scan import confirm
    from ..snapshot import all_mounts, anonymize, take
    from . import host_view, service_report, session

    scanner = session.scanner(arguments)
    agent = service_report.read(scanner.boot_id)
    found = confirm.confirmed_scan(scanner, wait=arguments.wait, everything=True, known=session.known(scanner))
    hostname, kernel = confirm.host()
    paused = session.circumstances(scanner, agent).paused
    taken = take.take(
        replace(found.seen, gaps=found.seen.gaps + host_view.gaps()),
        found.findings,
        scanner.config,
        hostname=hostname,
        kernel=kernel,
        paused=paused,
        survey=all_mounts.take(),
    )
    return anonymize.anonymous(taken) if arguments.anonymous else taken


def _print(arguments: Namespace, name: str, taken: "Snapshot", size: int) -> None:
    file, findings = printable(name), len(taken.told)
    if arguments.json:
        document = {"file": file, "bytes": size, "anonymous": taken.anonymous, "findings": findings}
        sys.stdout.write(report_file.dumps(document))
    else:
        names = ", with other names for all names" if taken.anonymous else ""
        print(f"wrote {file} ({size:,} bytes, findings: {findings}{names})")


def load(path: str) -> "Snapshot":
    """The snapshot in a file, or on stdin for `-`. Raises: MountwardenError with what is wrong with it; OSError."""
    from ..snapshot import file

    return file.read(path)


def facts_of(taken: "Snapshot", *, everything: bool = False) -> build.ReportFacts:
    """What a report says of a snapshot by this version's rules; the causes of info only with `everything`."""
    from ..remedies.plan import Circumstances, plan
    from ..report import assemble
    from ..snapshot import rejudge

    config, circumstances = rejudge.config(taken), Circumstances(paused=taken.paused)
    return build.ReportFacts(
        picture=taken.picture,
        findings=tuple(
            plan(finding, config, circumstances) for finding in rejudge.findings(taken, everything=everything)
        ),
        taken=taken.taken,
        seconds=taken.seconds,
        mode=str(taken.mode),
        paused=taken.paused,
        hostname=taken.hostname,
        kernel=taken.kernel,
        policies={state.root.path: assemble.policies(state.root, config) for state in taken.picture.roots},
        gaps=taken.gaps,
    )


def report(taken: "Snapshot", *, everything: bool = False) -> types.ReportJson:
    """The report of a snapshot."""
    return build.build(facts_of(taken, everything=everything))
