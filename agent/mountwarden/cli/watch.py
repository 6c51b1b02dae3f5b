"""mountwarden watch: what is found, done and ended, line by line as it happens."""

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import durations
from ..errors import MountwardenError
from ..escape import json_text, printable, seconds, sentence, timestamp
from ..mounts.mountinfo import propagation
from ..output import terminal
from ..systemd import OWN_UNIT, journal_origin, journal_reader
from ..systemd.journal import PREFIX
from ..varlink.client import Client, Unreachable
from . import options, remote
from .service import RunningService

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from ..ledger.entries import Ledger, Now
    from ..model import Finding
    from ..observe.home_watch import Changed, HomeMounts
    from ..scan.result import Scan
    from ..scan.scanner import Scanner

_COLOURS = {"found": "yellow", "acted": "green", "cleared": "green", "failed": "red", "gap": "dim"}
_COLOURS |= dict.fromkeys(("mounted", "unmounted", "moved", "propagation"), "dim")


@dataclass(frozen=True, slots=True)
class WatchLine:
    """One event, as it is printed."""

    at: float
    """Seconds since the Epoch."""
    event: str
    finding: str | None
    text: str


def register(subparsers: "_SubParsersAction[options.Parser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "watch",
        help="live lines: found, acted, cleared, paused, gaps; also mounts",
        description="Follows the service's events; where it does not run, scans by itself each tick.\n"
        "Ends with Ctrl-C.",
        epilog="example:\n  mountwarden watch --verbose",
    )
    parser.add_argument(
        "--verbose",
        action="store_true",
        help="also what is mounted and unmounted on the host, as it happens; needs root",
    )
    parser.add_argument("-n", "--lines", metavar="N", type=int, default=10, help="past events first (default: 10)")
    options.host(parser)
    parser.set_defaults(run=run)


def run(arguments: Namespace) -> int:
    """Print events until interrupted. Raises: MountwardenError; OSError."""
    screen = terminal.of(sys.stdout, no_color=arguments.no_color)
    with _mounts(arguments) as mounts:
        followed = _asked(arguments) if mounts is None else None
        if followed is None:
            followed = _followed(arguments.lines, mounts) if service_runs() else _scanned(arguments, mounts)
        for line in followed:
            sys.stdout.write(as_json(line) + "\n" if arguments.json else screen.lines([as_text(line, screen)]))
            sys.stdout.flush()
    return 0


def _asked(arguments: Namespace) -> Iterator[WatchLine] | None:
    """What the service says as it happens; None where it gives no answer."""
    try:
        client = remote.local() if arguments.host is None else remote.connect(arguments.host)
    except Unreachable:
        if arguments.host is not None:
            raise
        return None
    return _told(client, arguments)


def _told(client: Client, arguments: Namespace) -> Iterator[WatchLine]:
    with client:
        for one in RunningService(client, arguments.host).watch(arguments.lines):
            yield WatchLine(seconds(one["at"]), one["event"], one["finding"], one["text"])


def _mounts(arguments: Namespace) -> "contextlib.AbstractContextManager[HomeMounts | None]":
    from . import session

    if not arguments.verbose:
        return contextlib.nullcontext()
    session.need_root("watching mounts")
    from ..observe.home_watch import PATH, HomeMounts

    try:
        return HomeMounts()
    except PermissionError:
        raise MountwardenError(f"{PATH} may not be read, so no mounts can be shown") from None


def as_text(line: WatchLine, screen: terminal.Terminal) -> str:
    """The event as `journalctl -f` would have it: the local time first."""
    moment = time.strftime("%b %d %H:%M:%S", time.localtime(line.at))
    return f"{moment} {screen.paint(f'{line.event:<11}', _COLOURS.get(line.event, 'bold'))} {line.text}"


def as_json(line: WatchLine) -> str:
    """The event as one line of JSON."""
    document = {"at": timestamp(line.at), "event": line.event, "finding": line.finding, "text": line.text}
    return json_text(json.dumps(document, ensure_ascii=False))


def service_runs() -> bool:
    """Whether the service is active, as systemd says."""
    try:
        done = subprocess.run(
            ("systemctl", "is-active", "--quiet", OWN_UNIT), check=False, capture_output=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _followed(lines: int, mounts: "HomeMounts | None") -> Iterator[WatchLine]:
    words = journal_reader.of_service("--follow", f"--lines={lines}")
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield from _merged(process.stdout.fileno(), mounts) if mounts else journal_lines(process.stdout)
        finally:
            process.terminate()


def _merged(journal: int, mounts: "HomeMounts") -> Iterator[WatchLine]:
    """The journal's events and the host's mounts, as they come."""
    poll = select.poll()
    poll.register(journal, select.POLLIN)
    poll.register(mounts.fileno(), select.POLLPRI)
    rest = b""
    while True:
        ready = {number for number, _event in poll.poll()}
        if mounts.fileno() in ready:
            yield from mount_lines(mounts.changes(), time.time())
        if journal in ready:
            if not (part := os.read(journal, 1 << 16)):
                return
            *whole, rest = (rest + part).split(b"\n")
            yield from journal_lines(whole)


def mount_lines(changes: "Iterable[Changed]", now: float) -> Iterator[WatchLine]:
    """The host's mounts that came, went or were changed."""
    for one in changes:
        mount = one.mount
        state = propagation(mount) + (f", peer group {mount.shared}" if mount.shared else "")
        text = f"{printable(mount.point)}: {printable(mount.fstype)} {mount.device}, {state}"
        yield WatchLine(now, str(one.how), None, text)


def journal_lines(lines: Iterable[bytes]) -> Iterator[WatchLine]:
    """The service's events in journalctl's JSON output; other entries are skipped."""
    for raw in lines:
        fields = journal_reader.fields(raw)
        if (event := fields.get(f"{PREFIX}EVENT")) and journal_origin.from_service(fields):
            at = int(fields["__REALTIME_TIMESTAMP"]) / 1e6
            finding = fields.get(f"{PREFIX}FINDING") or None
            yield WatchLine(at, sentence(event), finding, sentence(fields.get("MESSAGE", "")))


def _scanned(arguments: Namespace, mounts: "HomeMounts | None") -> Iterator[WatchLine]:
    from . import session

    session.need_root(f"watching without {OWN_UNIT}")
    scanner = session.scanner(arguments)
    print(f"{OWN_UNIT} is not active: scanning each {durations.text(scanner.config.tick)}", file=sys.stderr)
    return scanned(scanner, mounts)


def scanned(scanner: "Scanner", mounts: "HomeMounts | None" = None) -> Iterator[WatchLine]:
    """Events of our own scans, one each tick, or fewer where a scan takes more than a fiftieth of that.

    Raises: MountwardenError where a scan fails.
    """
    from ..ledger import update
    from ..output import journal_messages

    ledger = update.Ledger(scanner.boot_id)
    while True:
        started = time.clock_gettime(time.CLOCK_BOOTTIME)
        try:
            seen = scanner.scan()
        except OSError as error:
            raise MountwardenError(f"a scan failed: {error}") from error
        now = update.Now(seen.started, started, seen.seconds)
        findings = _with_causes(ledger, seen, now, scanner)
        unjudged = frozenset(root.root.path for root in seen.picture.roots if root.status != "ok")
        ledger, events = update.update(ledger, findings, now, scanner.config, gaps=seen.gaps, unjudged=unjudged)
        for event in events:
            name = event.subject.id if event.subject else None
            yield WatchLine(event.at, str(event.kind), name, sentence(journal_messages.sentence(event)))
        ledger = update.reported(ledger, [event.key for event in events])
        yield from _rest(max(scanner.config.tick, 50 * seen.seconds), mounts)


def _rest(duration: float, mounts: "HomeMounts | None") -> Iterator[WatchLine]:
    """Sleep `duration` seconds until the next scan; meanwhile, what happens to the host's mounts."""
    if mounts is None:
        time.sleep(duration)
        return
    poll = select.poll()
    poll.register(mounts.fileno(), select.POLLPRI)
    until = time.monotonic() + duration
    while (left := until - time.monotonic()) > 0:
        if poll.poll(left * 1000):
            yield from mount_lines(mounts.changes(), time.time())


def _with_causes(ledger: "Ledger", seen: "Scan", now: "Now", scanner: "Scanner") -> "list[Finding]":
    """The findings, those that are to be reported now with their cause."""
    from ..explain import shared_causes
    from ..ledger import update

    due = update.due(ledger, seen.findings, now, scanner.config)
    asked = [finding for finding in seen.findings if finding.id in due]
    causes = {finding.id: finding for finding in shared_causes.explained(asked, seen.picture)[0]}
    return [causes.get(finding.id, finding) for finding in seen.findings]
