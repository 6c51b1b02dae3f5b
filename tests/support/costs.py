"""What a scan costs, in processor time, to which what runs beside a test adds little."""

import time

from mountwarden.observe import entries
from mountwarden.scan.result import Scan
from mountwarden.scan.scanner import Scanner


def timed(scanner: Scanner, *, resync: bool = False) -> tuple[Scan, float]:
    """A scan, and the processor seconds of it and of the child that enters namespaces for it."""
    before = time.process_time() + entries.cpu_seconds()
    scan = scanner.scan(resync=resync)
    return scan, time.process_time() + entries.cpu_seconds() - before
