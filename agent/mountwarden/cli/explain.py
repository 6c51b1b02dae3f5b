"""mountwarden explain: one finding in full."""

import sys
import time
from argparse import Namespace
from typing import TYPE_CHECKING

from ..escape import printable, timestamp
from ..model import Severity
from ..output import explain_text, report_file, terminal
from ..report import answers, build
from ..report.answers import ExplainedJson, OverJson
from . import finding_ids, options
from . import source as sources

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def register(subparsers: "_SubParsersAction[options.Parser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "explain",
        help="one finding in full: what, who, why, and the remedies",
        description="Shows one finding in full: what, since when, who holds it and why, the timeline, where the chain\n"
        "of propagation is broken, each remedy with what it would do, and the lasting fix. Of a finding that\n"
        "is over, what the journal has.",
        epilog="example:\n  mountwarden explain mw-0123456789",
    )
    parser.add_argument("id", metavar="ID", help="a finding's id, as report shows it, or its beginning")
    options.severity(parser)
    options.host(parser)
    options.waiting(parser)
    options.snapshot(parser)
    parser.set_defaults(run=run)


def run(arguments: Namespace) -> int:
    """Explain the finding; the exit status is the report's, of this one finding."""
    screen = terminal.of(sys.stdout, no_color=arguments.no_color)
    if arguments.snapshot is not None:
        document: ExplainedJson | OverJson = _stored(arguments.snapshot, arguments.id)
    else:
        document = sources.answer(arguments, lambda source: source.explain(arguments.id, wait=arguments.wait))
    if arguments.json:
        sys.stdout.write(report_file.dumps(document))
    elif "over" in document:
        sys.stdout.write(explain_text.render_over(document["id"], document["background"], screen))
    else:
        now = time.time()
        facts = explain_text.Explanation(document, document["steps"], now, timestamp(now), document["background"])
        sys.stdout.write(explain_text.render(facts, screen))
    return int("over" not in document and build.counts(document, Severity(arguments.fail_on)))


def _stored(path: str, finding_id: str) -> ExplainedJson:
    from . import snapshot

    facts = snapshot.facts_of(snapshot.load(path), everything=True)
    by_id = {finding.id: finding for finding in facts.findings}
    (name,) = finding_ids.resolved([finding_id], by_id)
    if name not in by_id:
        where, hint = f"in {printable(path)}", "mountwarden report --from lists what is there"
        raise finding_ids.unknown(name, by_id, where, hint)
    return answers.explained(build.finding_json(by_id[name]), build.steps(by_id[name]), None)
