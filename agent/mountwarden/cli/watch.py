"""mountwarden watch: what is found, done and over, line by line as it happens."""

import json
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from ..errors import MountwardenError
from ..tell import report, terminal
from ..tell.text import sentence
from . import options

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from ..look import Looker

UNIT = "mountwarden.service"
_COLOURS = {"found": "yellow", "acted": "green", "cleared": "green", "failed": "red", "gap": "dim"}


@dataclass(frozen=True, slots=True)
class Line:
    """One event, as shown."""

    at: float
    """Seconds since the Epoch."""
    event: str
    finding: str | None
    text: str


def register(subparsers: "_SubParsersAction[options.Parser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "watch",
        help="live lines: found, acted, cleared",
        description="Follows the service's events in the journal; where it does not run, looks by itself each tick.\n"
        "Ends with Ctrl-C.",
    )
    parser.add_argument("-n", "--lines", metavar="N", type=int, default=10, help="past events first (default: 10)")
    parser.set_defaults(run=run)


def run(arguments: Namespace) -> int:
    """Show events until interrupted."""
    screen = terminal.of(sys.stdout, no_color=arguments.no_color)
    for line in _followed(arguments.lines) if service_runs() else _looked(arguments):
        sys.stdout.write(as_json(line) + "\n" if arguments.json else screen.lines([as_text(line, screen)]))
        sys.stdout.flush()
    return 0


def as_text(line: Line, screen: terminal.Terminal) -> str:
    """The event as `journalctl -f` would have it: the local time first."""
    moment = time.strftime("%b %d %H:%M:%S", time.localtime(line.at))
    return f"{moment} {screen.paint(f'{line.event:<8}', _COLOURS.get(line.event, 'bold'))} {line.text}"


def as_json(line: Line) -> str:
    """The event as one line of JSON."""
    told = {"at": report.timestamp(line.at), "event": line.event, "finding": line.finding, "text": line.text}
    return json.dumps(told, ensure_ascii=False)


def service_runs() -> bool:
    """Whether the service is active, as systemd says."""
    try:
        done = subprocess.run(("systemctl", "is-active", "--quiet", UNIT), check=False, capture_output=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _followed(lines: int) -> Iterator[Line]:
    # _SYSTEMD_UNIT is written by journald itself: anybody can log under our identifier.
    words = ("journalctl", "--follow", f"--lines={lines}", "--output=json", "--quiet", f"_SYSTEMD_UNIT={UNIT}")
    with subprocess.Popen((*words, "SYSLOG_IDENTIFIER=mountwarden"), stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield from journal_lines(process.stdout)
        finally:
            process.terminate()


def journal_lines(stream: IO[bytes]) -> Iterator[Line]:
    """The events in journalctl's JSON output; entries that are no event are passed over."""
    for raw in stream:
        entry = json.loads(raw)
        if event := _field(entry, "MOUNTWARDEN_EVENT"):
            at = int(entry["__REALTIME_TIMESTAMP"]) / 1e6
            finding = _field(entry, "MOUNTWARDEN_FINDING") or None
            yield Line(at, sentence(event), finding, sentence(_field(entry, "MESSAGE")))


def _field(entry: dict[str, Any], name: str) -> str:
    """A field's text: journalctl gives bytes that do not print as a list, several values as one too."""
    value = entry.get(name)
    if isinstance(value, list):
        whole = all(isinstance(item, int) for item in value)
        value = bytes(value).decode("utf-8", "surrogateescape") if whole else value[0]
    return value if isinstance(value, str) else ""


def _looked(arguments: Namespace) -> Iterator[Line]:
    from . import session

    session.need_root(f"watching without {UNIT}")
    looker = session.looker(arguments)
    print(f"{UNIT} is not active: looking each {looker.config.tick:g} s", file=sys.stderr)
    return looked(looker)


def looked(looker: "Looker") -> Iterator[Line]:
    """Events of our own looks, one each tick, or rarer where a look costs more than a fiftieth of that."""
    from .. import ledger
    from ..tell import messages

    state = ledger.Ledger(looker.boot_id)
    while True:
        started = time.clock_gettime(time.CLOCK_BOOTTIME)
        try:
            seen = looker.look()
        except OSError as error:
            raise MountwardenError(f"a look failed: {error}") from error
        now = ledger.Now(seen.started, started, seen.seconds)
        findings = _with_causes(state, seen, now, looker)
        unjudged = frozenset(root.root.path for root in seen.picture.roots if root.status != "ok")
        state, events = ledger.update(state, findings, now, looker.config, gaps=seen.gaps, unjudged=unjudged)
        for event in events:
            name = event.subject.id if event.subject else None
            yield Line(event.at, str(event.kind), name, sentence(messages.sentence(event)))
        state = ledger.told(state, [event.key for event in events])
        time.sleep(max(looker.config.tick, 50 * seen.seconds))


def _with_causes(state: Any, seen: Any, now: Any, looker: "Looker") -> list[Any]:
    """The findings, those that are to be told now with their cause."""
    from .. import ledger
    from . import facts

    due = ledger.due(state, seen.findings, now, looker.config)
    causes = {f.id: f for f in facts.explained([f for f in seen.findings if f.id in due], seen)[0]}
    return [causes.get(finding.id, finding) for finding in seen.findings]
