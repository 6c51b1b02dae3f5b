"""An ordinary user of the host in a user namespace and a mount namespace of its own, as `unshare -Urm` makes them."""

import contextlib
import os
import pickle
import signal
from collections.abc import Callable, Iterator

from mountwarden.kernel import abi, syscalls

from tests.support.scratch_ns import Namespace

UID = 1000


@contextlib.contextmanager
def tenant(do: Callable[[], object] = lambda: None, *, cwd: bytes = b"/") -> Iterator[Namespace]:
    """A process of user `UID` that has done something in its namespaces, a copy of the caller's, and then sleeps.

    It was in `cwd` as root, before it became that user's.
    """
    told, tell = os.pipe2(os.O_CLOEXEC)
    go, let_go = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            os.close(let_go)
            _live(do, cwd, tell, go)
        except BaseException as error:
            os.write(tell, pickle.dumps(repr(error)))
        finally:
            os._exit(1)
    os.close(tell)
    os.close(go)
    made = Namespace(pid)
    try:
        with open(told, "rb", buffering=0) as answers, open(let_go, "wb", buffering=0) as permission:
            if (said := answers.read(1)) == b"u":
                for name, text in (("uid_map", f"0 {UID} 1"), ("setgroups", "deny"), ("gid_map", f"0 {UID} 1")):
                    with open(f"/proc/{pid}/{name}", "w") as file:
                        file.write(text)
                permission.write(b"g")
                said = answers.read(1)
            assert said == b"d", pickle.loads(said + (answers.read(1 << 16) or b""))
        yield made
    finally:
        made.kill()


def _live(do: Callable[[], object], cwd: bytes, tell: int, go: int) -> None:
    os.chdir(cwd)
    os.setgroups([])
    os.setresgid(UID, UID, UID)
    os.setresuid(UID, UID, UID)
    syscalls.unshare(abi.CLONE_NEWUSER | abi.CLONE_NEWNS)
    os.write(tell, b"u")
    os.read(go, 1)
    syscalls.mount(None, b"/", None, abi.MS_REC | abi.MS_PRIVATE)
    do()
    syscalls.die_with_parent(signal.SIGKILL)
    os.write(tell, b"d")
    while True:
        signal.pause()


def stacked(times: int) -> None:
    """Mounts on one another, twice as many each time: the kernel walks down through all of them for each one's line."""
    syscalls.mount(b"tmpfs", b"/tmp", b"tmpfs")
    os.mkdir("/tmp/stack")
    syscalls.mount(b"/tmp/stack", b"/tmp/stack", None, abi.MS_BIND)
    syscalls.mount(None, b"/tmp/stack", None, abi.MS_SHARED)
    for _ in range(times):
        syscalls.mount(b"/tmp/stack", b"/tmp/stack", None, abi.MS_BIND)
