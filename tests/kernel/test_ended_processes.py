"""Of a process that ends in the moment of a question the kernel says EACCES, as of one that may not be asked."""

import os
import threading

import pytest
from mountwarden.errors import NoAnswer
from mountwarden.observe import namespaces, processes
from mountwarden.observe.living import Living


def test_one_that_ended_while_it_was_asked_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kernel answers where the process has gone after its directory was opened."""

    def refused(path: str, *_flags: int) -> str:
        raise PermissionError(13, "Permission denied", path)

    gone = os.fork()
    if gone == 0:
        os._exit(0)
    os.waitpid(gone, 0)
    monkeypatch.setattr(os, "readlink", refused)
    with pytest.raises(ProcessLookupError):
        processes.link_inode(gone, "mnt")
    assert namespaces.members([gone], threads=False).gaps == ()
    with pytest.raises(PermissionError):
        processes.link_inode(os.getpid(), "mnt")
    monkeypatch.setattr(os, "open", refused)
    watched = Living()
    assert watched.hold(gone, 1) is None
    with pytest.raises(NoAnswer):
        watched.hold(os.getpid(), 1)


def test_the_kernel_answers_so() -> None:
    """Threads that end at once, each opened again and again: never anything else than the right, or that it ended."""
    stopped = threading.Event()
    seen: list[int] = []

    def brief() -> None:
        seen.append(threading.get_native_id())

    def make() -> None:
        while not stopped.is_set():
            thread = threading.Thread(target=brief)
            thread.start()
            thread.join()

    maker = threading.Thread(target=make)
    maker.start()
    try:
        own, watched, asked = os.stat("/proc/self/ns/mnt").st_ino, Living(), 0
        while asked < 200_000:
            for tid in seen[-2:]:
                asked += 1
                if watched.hold(tid, own) is not None:
                    watched.close()
    finally:
        stopped.set()
        maker.join()
