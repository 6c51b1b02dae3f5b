"""mountwarden map: how umounts propagate on the host."""

import sys
from argparse import Namespace
from typing import TYPE_CHECKING

from ..escape import printable, timestamp
from ..output import report_file, terminal
from ..output.map import dot, drawing, svg
from ..report import build
from . import host_view, options, session
from .reading import ReadingLine

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from ..model import Gap
    from ..report.map import MapFacts
    from ..report.map_types import MapJson

_EPILOG = """\
Each mount of the host that holds roots, and below it the namespaces that show them: slaves and peers, which umounts
reach, and those that are cut off, with the copies that have leaked and those that will. Healthy namespaces are folded
into counts.

examples:
  mountwarden map
  mountwarden map --svg > map.svg
  mountwarden map --dot | dot -Tpng -o map.png
"""


def register(subparsers: "_SubParsersAction[options.Parser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "map",
        help="how umounts propagate on the host: roots, peer groups, namespaces, copies, leaks",
        description="Draws which namespaces umounts on the host reach, which are cut off, and what is in them.",
        epilog=_EPILOG,
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--svg", action="store_true", help="a picture for a browser, as SVG")
    form.add_argument("--dot", action="store_true", help="a graph for Graphviz's dot(1)")
    parser.add_argument("--all", action="store_true", help="every namespace by itself, nothing folded")
    options.waiting(parser)
    parser.set_defaults(run=run)


def run(arguments: Namespace) -> int:
    """Draw it; the exit status says nothing about what is drawn."""
    session.need_root("mountwarden map")
    with ReadingLine() as reading:
        picture = scan(arguments, reading)
    if arguments.json:
        sys.stdout.write(report_file.dumps(picture))
    elif arguments.svg:
        sys.stdout.write(svg.render(picture, everything=arguments.all))
    elif arguments.dot:
        sys.stdout.write(dot.render(picture, everything=arguments.all))
    else:
        screen = terminal.of(sys.stdout, no_color=arguments.no_color)
        sys.stdout.write(drawing.render(picture, screen, everything=arguments.all))
    return 0


def scan(arguments: Namespace, reading: ReadingLine) -> "MapJson":
    """Scan the host now, every namespace."""
    from ..observe.exposed_texts import ExposedTexts
    from ..predict.next_leaks import who
    from ..report.map import MapFacts, counts
    from ..scan import confirm

    texts = ExposedTexts()
    scanner = session.scanner(arguments, exposed=texts, alive=reading.one_more)
    known = session.known(scanner)
    found = confirm.confirmed_scan(scanner, wait=arguments.wait, known=known)
    picture = found.seen.picture
    exposed = texts.found(picture)
    holding = {copy.namespace for f in found.findings if counts(f) and f.target for copy in f.target.leaked}
    members = {inode: who(inode, picture) for inode in holding | {exposure.namespace for exposure in exposed}}
    gaps = tuple(
        {(gap.what, gap.namespace): gap for gap in (*host_view.gaps(), *found.seen.gaps, *texts.gaps)}.values()
    )
    return document(MapFacts(picture, found.findings, exposed, members), gaps, found.seen.started)


def document(seen: "MapFacts", gaps: "tuple[Gap, ...]", started: float) -> "MapJson":
    """The map as JSON. A field that is not known is null, never missing."""
    from .. import __version__
    from ..report.map import bases, summary, unjudged
    from ..report.map_types import SCHEMA
    from ..scan.confirm import host

    hostname, release = host()
    drawn, unseen = bases(seen), unjudged(seen.picture)
    return {
        "schema": SCHEMA,
        "version": __version__,
        "taken": timestamp(started),
        "host": {"hostname": printable(hostname), "kernel": printable(release), "boot_id": seen.picture.boot_id},
        "complete": not gaps and not unseen,
        "summary": summary(seen, drawn),
        "bases": drawn,
        "unjudged": unseen,
        "gaps": build.all_gaps(gaps),
    }
