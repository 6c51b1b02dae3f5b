"""strace(1) on a test host's process: a system call on one path fails, or is the last thing that the process does."""

import contextlib
import os
import signal
from collections.abc import Iterator

from tests.support.machine import Machine
from tests.support.wait import wait_until


@contextlib.contextmanager
def inject(host: Machine, pid: int, call: str, what: str, path: str) -> Iterator[None]:
    """While this lasts, `call` with that path gets `what` (`error=EBUSY`, `signal=SIGKILL`) in that process.

    An unlinkat that says EBUSY is what a kernel says that lets no mountpoint be removed while a copy of it is mounted.
    """
    filters = ("-e", f"trace={call}", "-e", f"inject={call}:{what}", "-P", path)
    tracer = host.popen("strace", "-f", "-o", "/dev/null", *filters, "-p", str(pid))
    try:
        wait_until(lambda: _is_traced(host, pid), 30, "strace has attached to every thread")
        yield
    finally:
        os.killpg(tracer.pid, signal.SIGTERM)
        tracer.communicate(timeout=10)


def _is_traced(host: Machine, pid: int) -> bool:
    script = 'awk "/^TracerPid/ { print \\$2 }" /proc/$1/task/*/status'
    tracers = host.run("sh", "-c", script, "sh", str(pid), check=False).stdout.split()
    return bool(tracers) and "0" not in tracers
