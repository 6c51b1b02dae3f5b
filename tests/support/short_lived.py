"""A mount namespace in which nothing lives for longer than a millisecond or two, and yet always something."""

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Iterator

from mountwarden.kernel import abi, syscalls

from tests.support.scratch_ns import Namespace

PROCESSES = """
import os, select, sys
while not select.select([int(sys.argv[1])], [], [], 0.001)[0]:
    try:
        if os.fork():
            os._exit(0)
    except BlockingIOError:
        pass
"""
"""Each forks the next one and exits, until the pipe's other end is closed."""

THREADS = """
import _thread, ctypes, os, select, sys
end, libc = int(sys.argv[1]), ctypes.CDLL(None)
def one(first):
    if first:
        if libc.unshare(0x200) or libc.setns(int(sys.argv[2]), 0x20000) or os.close(int(sys.argv[2])):
            os._exit(1)
        os.write(end, b"x")
    if not select.select([end], [], [], 0.001)[0]:
        _thread.start_new_thread(one, (False,))
_thread.start_new_thread(one, (True,))
select.select([end], [], [])
"""
"""The same with threads: their process is in the namespace in which it was started."""


@contextlib.contextmanager
def chain(space: Namespace, *, threads: bool = False) -> Iterator[Callable[[], None]]:
    """Such processes, or threads of one process that is not in it, in the namespace of `space`.

    They end some milliseconds after this, or after a call of what it gives, in whatever process.
    """
    ends, writer = socket.socketpair()
    inside = os.open(f"/proc/{space.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            ends.set_inheritable(True)
            os.set_inheritable(inside, threads)
            if not threads:
                syscalls.setns(inside, abi.CLONE_NEWNS)
            code = THREADS if threads else PROCESSES
            os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", code, str(ends.fileno()), str(inside)])
        finally:
            os._exit(1)
    ends.close()
    os.close(inside)
    try:
        if not threads:
            os.waitpid(pid, 0)  # there is the next one by then
        elif not writer.recv(1):
            raise ChildProcessError("no thread could enter the namespace")
        yield lambda: writer.shutdown(socket.SHUT_WR)
    finally:
        writer.close()
        if threads:
            os.waitpid(pid, 0)
