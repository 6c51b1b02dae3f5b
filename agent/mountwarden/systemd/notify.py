"""Messages to the service manager: readiness, state, and that the service is alive (sd_notify(3))."""

import os
import time

from ..escape import sentence


class Notifier:
    """The service manager's socket. Without one, nothing is sent."""

    def __init__(self) -> None:
        from sdnotify import SystemdNotifier

        self._notifier = SystemdNotifier()
        self._status = ""

    @property
    def watchdog(self) -> float | None:
        """Seconds between two calls of `alive`, half of what systemd waits for; None where it does not wait."""
        usec, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
        if not usec.isdigit() or (pid.isdigit() and int(pid) != os.getpid()):
            return None
        return int(usec) / 2e6

    def ready(self) -> None:
        """The service does its work from now on."""
        self._notifier.notify("READY=1")

    def alive(self) -> None:
        """The service is alive: resets the watchdog's timer."""
        self._notifier.notify("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`; nothing is sent when it is the same as the last one.

        A line break in it would begin another message, such as MAINPID=.
        """
        text = sentence(text)
        if text != self._status:
            self._status = text
            self._notifier.notify(f"STATUS={text.encode('ascii', 'replace').decode()}")

    def reloading(self) -> None:
        """A reload begins; `ready` ends it."""
        usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._notifier.notify(f"RELOADING=1\nMONOTONIC_USEC={usec}")

    def stopping(self) -> None:
        """The service is about to end."""
        self._notifier.notify("STOPPING=1")
