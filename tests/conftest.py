"""For every test: folders are markers, and nothing is left behind."""

import contextlib
import gc
import os
import signal
from collections.abc import Iterator

import pytest
from mountwarden.observe import entries, superblocks

from tests.support.leftovers import belongings
from tests.support.wait import wait_until

DYING = float(os.environ.get("MOUNTWARDEN_DYING") or 20)
"""Seconds: what waits for a superblock waits until that is written, beside whatever else the machine writes."""
pytest_plugins = ["tests.support.reporting"]

# A shell starts what it leaves in the background with SIGINT ignored, and so would all that the tests start be, some of
# which end by it. A handler is no heirloom.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    """A mount, descriptor, child or mount namespace that outlives the test fails it; dying ones get some seconds."""
    before = belongings()
    yield
    entries.close()  # they are the process's own, for all entries and questions
    superblocks.close()
    if not belongings().beyond(before):
        return
    gc.collect()  # what only a cycle of references holds is nobody's any more
    with contextlib.suppress(AssertionError):
        wait_until(lambda: not belongings().beyond(before), DYING)
    if left := belongings().beyond(before):
        pytest.fail("left behind:\n  " + "\n  ".join(left), pytrace=False)
