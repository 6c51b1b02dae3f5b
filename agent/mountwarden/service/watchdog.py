"""The sign of life that systemd waits for, systemd.service(5) WatchdogSec=."""

import time

from ..systemd.notify import Notifier


class Watchdog:
    """Reports to systemd that the service is alive, as often as its WatchdogSec= asks for."""

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._alive_at = 0.0

    def alive(self) -> None:
        """A sign of life, if the last one is long enough ago."""
        period, now = self._notifier.watchdog, time.clock_gettime(time.CLOCK_BOOTTIME)
        if period is not None and now - self._alive_at >= period / 2:
            self._notifier.alive()
            self._alive_at = now

    def at_most(self, seconds: float) -> float:
        """Seconds to sleep: `seconds`, or fewer where the next sign of life is due before."""
        period = self._notifier.watchdog
        return seconds if period is None else min(seconds, period / 2)
