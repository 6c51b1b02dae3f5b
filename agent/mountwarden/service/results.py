"""What one scan led to."""

from dataclasses import dataclass

from ..config.schema import Config
from ..ledger.update import Ledger
from ..model import Finding, Outcome
from ..scan.result import Scan
from ..state.pause import Pause


@dataclass(frozen=True, slots=True)
class Results:
    """What is published of one scan and of what followed it."""

    scan: Scan
    findings: tuple[Finding, ...]
    """As the ledger has them: with whether they are confirmed and silenced, since when, and their cause."""
    config: Config
    ledger: Ledger
    pause: Pause | None
    kept: str | None
    """Why the old configuration is kept; None when it is not."""
    cost: float
    """Processor seconds of the scan."""
    outcomes: tuple[Outcome, ...]
    """Of the actions that were tried."""
