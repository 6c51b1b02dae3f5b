"""An engine that mounts the layers again while a batch is at work on them."""

import errno
import mmap
import os
import random
import select
import shutil
import struct
import time
from collections import Counter
from collections.abc import Sequence

import pytest
from mountwarden.kernel import syscalls
from mountwarden.model import Action, Finding
from mountwarden.remedies import apply

from tests.kernel import crash
from tests.kernel.batches import codes, leaks, scanner
from tests.support.scratch_ns import Namespace, Sandbox


class Engine:
    """Mounts each of some layers again, while a batch is at work on them."""

    def __init__(self, layers: Sequence[bytes], delay: float) -> None:
        self._told = mmap.mmap(-1, 16 * len(layers))
        self._layers, self._delay = layers, delay
        self._go, self._let_go = os.pipe2(os.O_CLOEXEC)
        self._process = os.fork()
        if self._process == 0:
            try:
                self._mount_all()
            finally:
                os._exit(0)

    def start(self) -> None:
        """Begin, after the delay."""
        os.write(self._let_go, b".")

    def ended(self) -> list[tuple[int, int]]:
        """For each layer, when it was mounted by the monotonic clock in ns, and the errno: 0 is mounted."""
        os.waitpid(self._process, 0)
        os.close(self._go)
        os.close(self._let_go)
        with self._told as told:
            return list(struct.iter_unpack("qq", told[:]))

    def _mount_all(self) -> None:
        os.read(self._go, 1)
        select.select((), (), (), self._delay)
        for number in random.sample(range(len(self._layers)), len(self._layers)):
            layer, error = self._layers[number], 0
            options = b"lowerdir=%b/lower,upperdir=%b/upper,workdir=%b/work" % (layer, layer, layer)
            at = time.monotonic_ns()
            try:
                syscalls.mount(b"overlay", layer + b"/merged", b"overlay", 0, options)
                with open(layer + b"/merged/written", "wb"):
                    pass
            except OSError as failed:
                error = failed.errno or -1
            struct.pack_into("qq", self._told, 16 * number, at, error)


def engine_and_batch(rounds: int, within: int) -> dict[str, int]:
    """In each round an engine mounts twenty layers again, in any order, at any time of the batch on them.

    So many of these mounts are to fall within a batch.
    """
    counts: Counter[str] = Counter()
    took = 0.0  # seconds of the last batch: the engine begins at any time of that

    def one_round(_holder: Namespace, found: list[Finding]) -> None:
        nonlocal took
        engine = Engine([os.path.dirname(finding.mountpoint) for finding in found], random.random() * took)
        engine.start()
        started = time.monotonic_ns()
        told = codes(apply.carry_out_all(found, scanner(), Action.DETACH))
        ended = time.monotonic_ns()
        took = (ended - started) / 1e9
        home = Namespace(os.getpid())
        for finding, (at, error) in zip(found, engine.ended(), strict=True):
            point = finding.mountpoint
            counts["mounts"] += 1
            counts["in the window"] += started <= at <= ended
            counts[told[point]] += 1
            counts["mount ENOENT"] += error == errno.ENOENT
            assert error in (0, errno.ENOENT)
            assert home.is_mounted(point) == (not error)
            if not error:
                assert os.listdir(os.path.dirname(point) + b"/upper") == [b"written"], "where the engine put it"
                syscalls.umount(point)
            shutil.rmtree(os.path.dirname(point))

    def run(sandbox: Sandbox) -> dict[str, int]:
        random.seed(rounds)
        for _round in crash.rounds_of(counts, rounds, within):
            leaks(20, one_round)(sandbox)
            counts["rounds"] += 1
        return dict(counts)

    return crash.in_few_processes(run, 590)


def test_an_engine_mounts_while_a_batch_is_at_work() -> None:
    crash.assert_in_the_window(engine_and_batch(2, 5), 2, 5)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_an_engine_mounts_while_many_batches_are_at_work() -> None:
    rounds = int(os.environ.get("RACES", "300")) // 20
    counts = engine_and_batch(rounds, 50)
    print(f"engine and batch: {counts}")
    crash.assert_in_the_window(counts, rounds, 50)
