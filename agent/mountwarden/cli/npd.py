"""report --npd: one line from the service's last report, in the form that node-problem-detector's custom plugins have.

Its contract: exit status 0 is ok, 1 a problem, anything else unknown; what is on stdout becomes the condition's
message, cut at a number of bytes. So it never scans, and prints one line on stdout.
"""

from argparse import Namespace

from ..errors import MountwardenError
from ..escape import sentence
from ..model import Severity
from ..output import phrases
from ..report import build
from . import filters, service_report

LONGEST = 200
"""Bytes of the line; the configuration that ships lets the detector take as many."""


def run(arguments: Namespace) -> int:
    """Print the line, and return the exit status."""
    floor = Severity(arguments.fail_on)
    try:
        document = service_report.last()
        chosen = filters.of_report(arguments, document)
    except MountwardenError as error:
        print(_cut(f"unknown: {sentence(error.message)}"))
        return 2
    document = build.select(document, chosen.takes)
    status = build.status(document, floor, strict=arguments.strict)
    print(_cut(phrases.one_line(document, status, floor, chosen.name)))
    return status


def _cut(text: str) -> str:
    return text.encode()[:LONGEST].decode(errors="ignore")
