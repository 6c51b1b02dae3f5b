"""The connection to the system bus where the bus is odd or is not there. A real sd-bus on a socket of the test."""

import subprocess
import sys
from pathlib import Path

import mountwarden
import pytest

PYTHON = "/usr/bin/python3"
"""Debian's pystemd belongs to it."""
PROGRAM = f"""
import os, select, socket, sys, time
sys.path[:0] = [{str(Path(mountwarden.__file__).parents[1])!r}, {str(Path(__file__).parents[2])!r}]
from mountwarden.systemd import jobs, units
from mountwarden.systemd.jobs import UnitSignals
from tests.support.odd_bus import AUTHENTICATED, OddBus, greeting
def readable():
    poll = select.poll()
    poll.register(signals.fd, select.POLLIN)
    return bool(poll.poll(2000))
def fds():
    return len(os.listdir("/proc/self/fd"))
started = time.monotonic()
def took():
    return time.monotonic() - started
signals = UnitSignals()
"""


def _has_pystemd() -> bool:
    command = [PYTHON, "-I", "-c", "import importlib.util, sys; sys.exit(importlib.util.find_spec('pystemd') is None)"]
    try:
        return subprocess.run(command, check=False).returncode == 0
    except OSError:
        return False


needs_pystemd = pytest.mark.skipif(not _has_pystemd(), reason=f"{PYTHON} has no pystemd")


def run(code: str, *argv: str, python: str = PYTHON) -> str:
    """What a program prints, or why it failed."""
    command = [python, "-I", "-B", "-c", PROGRAM + code, *argv]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@needs_pystemd
def test_where_there_is_no_bus_there_is_nothing_to_poll() -> None:
    run("""
os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = "unix:path=/nonexistent/bus"
before = fds()
assert signals.open() is None and signals.fd is None
assert not signals.read()
assert fds() == before
signals.close()
""")


def test_without_pystemd_there_is_nothing_to_poll() -> None:
    run(
        "sys.modules['pystemd'] = None\nassert signals.open() is None\nassert not signals.read()", python=sys.executable
    )


@needs_pystemd
def test_a_bus_that_says_nothing_is_not_waited_for_and_tried_again_later(tmp_path: Path) -> None:
    code = """
odd = OddBus(sys.argv[1])
fd = signals.open()
assert fd == signals.fd != None
assert not signals.read() and signals.fd == fd
odd.accept()
assert signals.open() == fd and len(odd.peers) == 1, "not at once"
assert not signals.read()
jobs.RETRY_SECONDS = 0.0
before = fds()
for _ in range(20):
    assert signals.open() is not None
    assert not signals.read()
    odd.accept()
    odd.hang_up()
assert fds() == before
assert took() < 5.0
"""
    run(code, str(tmp_path / "bus"))


@needs_pystemd
@pytest.mark.parametrize("answer", ["b''", "b'REJECTED\\r\\n' * 9", "AUTHENTICATED + bytes(512)", "greeting()[:-9]"])
def test_a_bus_that_hangs_up_or_says_nonsense_is_given_up(tmp_path: Path, answer: str) -> None:
    code = f"""
before = fds()
odd = OddBus(sys.argv[1])
signals.open()
odd.accept({answer})
odd.hang_up()
while signals.fd is not None:
    assert readable()
    assert not signals.read()
odd.listener.close()
assert fds() == before
assert took() < 5.0
"""
    run(code, str(tmp_path / "bus"))


@needs_pystemd
def test_a_bus_that_stops_answering_costs_one_call(tmp_path: Path) -> None:
    code = """
os.environ["SYSTEMD_BUS_TIMEOUT"] = "17s"
odd = OddBus(sys.argv[1])
signals.open()
odd.accept(greeting())
while signals.fd is not None:
    assert readable()
    assert not signals.read()
assert jobs.CALL_SECONDS <= took() < jobs.CALL_SECONDS + 8
assert b"JobRemoved" in odd.peers[0].recv(9999), "it came as far as a call"
assert os.environ["SYSTEMD_BUS_TIMEOUT"] == "17s"
"""
    run(code, str(tmp_path / "bus"))
