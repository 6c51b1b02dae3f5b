"""What a prediction costs on a host with many mounts: 100 namespaces of 500, every other one a user namespace's."""

import os
from contextlib import ExitStack

import pytest
from mountwarden.kernel import abi, syscalls
from mountwarden.predict import umount as foresee

from tests.support.scratch_ns import Sandbox, hold

NAMESPACES, MOUNTS = 100, 500
MOST = 5.0
"""Seconds of processor time; it takes one or two, and more where the caches are shared with much else."""


def _mounts() -> None:
    syscalls.mount(None, b"/mnt", None, abi.MS_SHARED)
    os.mkdir(b"/mnt/root")
    syscalls.mount(b"root", b"/mnt/root", b"tmpfs")
    syscalls.mount(None, b"/mnt/root", None, abi.MS_SHARED)
    for number in range(MOUNTS):
        path = b"/mnt/root/%d" % number
        os.mkdir(path)
        syscalls.mount(b"layer", path, b"tmpfs", 0, b"size=4k")


@pytest.mark.parametrize(("path", "lazy"), [(b"/mnt/root/7", False), (b"/mnt/root/7", True), (b"/mnt/root", True)])
def test_many_namespaces(path: bytes, lazy: bool) -> None:
    with Sandbox() as sandbox, ExitStack() as stack:
        sandbox.run(_mounts)
        for number in range(NAMESPACES):
            user = number % 2 == 1
            stack.enter_context(hold(sandbox, propagation=None if user else "slave", userns=user))

        def ask() -> tuple[float, str, int]:
            before = sum(os.times()[:4])
            told = foresee.umount(path, lazy=lazy)
            return sum(os.times()[:4]) - before, str(told.answer), len(told.reached)

        seconds, answer, reached = sandbox.run(ask, timeout=60)
        print(f"{'lazy ' if lazy else ''}umount of {path.decode()}: {seconds:.2f} s, {reached:,} copies reached")
        assert (answer, reached) == ("ok", NAMESPACES * (1 if path != b"/mnt/root" else MOUNTS + 1))
        assert seconds < MOST
