"""Containers of today's engines that live for some seconds and are gone, so many at a time: the load of a test."""

import contextlib
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from tests.support import buildkit, incus
from tests.support.cri import Pods
from tests.support.engines import IMAGE
from tests.support.incidents import mountpoints
from tests.support.machine import Machine

AT_A_TIME = 3

Life = Callable[[int], object]
"""From start to end; the argument is for how many seconds it works."""


class Lives:
    """Of each engine in turn. The engines run, and have the image."""

    def __init__(self, host: Machine, pods: Pods) -> None:
        self._host = host
        self._pods = pods
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self.lived: Counter[str] = Counter()
        """How many have lived, by engine."""

    @contextlib.contextmanager
    def running(self, count: int, docker: str) -> Iterator[Callable[[], int]]:
        """So many of them, beside what is in the `with`, whose end waits for them.

        `docker` is what those of dockerd are counted as. Gives a function that says how many have ended by now. It
        raises what one of them has raised, and so does the end.
        """
        lives = self._lives(docker)
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            futures = []
            for number in range(count):
                futures.append(pool.submit(self._live, *lives[number % len(lives)], number * 7 % 3))
            try:
                yield lambda: _done(futures)
                for future in futures:
                    future.result()
            finally:
                pool.shutdown(cancel_futures=True)

    @contextlib.contextmanager
    def staying(self) -> Iterator[None]:
        """One of each engine but dockerd, which is restarted; all have their mounts, and work, at the end."""
        host = self._host
        run = ("run", "-d", "--network=none", "--name=stays", IMAGE, "sleep", "infinity")
        before = set(mountpoints(host, 1))
        sandbox, _container = self._pods.run()
        host.podman(*run)
        built = host.buildah("from", "--pull-never", f"localhost/{IMAGE}").stdout.strip()
        host.buildah("mount", built)
        incus.launch(host, "stays")
        host.rootless(*run)
        mounted = set(mountpoints(host, 1)) - before
        yield
        assert mounted <= set(mountpoints(host, 1))
        self._pods.remove(sandbox)
        for command in (host.podman, host.rootless):
            command("exec", "stays", "true")
        host.buildah("run", built, "true")
        host.run("incus", "exec", "stays", "--", "true")

    def _live(self, engine: str, life: Life, seconds: int) -> None:
        life(seconds)
        with self._lock:
            self.lived[engine] += 1

    def _lives(self, docker: str) -> Sequence[tuple[str, Life]]:
        """In their order; dockerd's are twice as many as others."""
        host = self._host
        once = ("run", "--rm", "--network=none", IMAGE, "sleep")
        of_docker: tuple[str, Life] = (docker, lambda seconds: host.docker(*once, str(seconds)))
        return (
            of_docker,
            ("CRI pod", self._pod),
            ("podman", lambda seconds: host.podman(*once, str(seconds))),
            ("buildah", self._buildah),
            of_docker,
            ("BuildKit", lambda seconds: buildkit.build(host, f"build{next(self._numbers)}", seconds)),
            ("Incus", self._incus),
            ("rootless podman", lambda seconds: host.rootless(*once, str(seconds))),
        )

    def _pod(self, seconds: int) -> None:
        sandbox, _container = self._pods.run()
        self._host.run("sleep", str(seconds))
        self._pods.remove(sandbox)

    def _buildah(self, seconds: int) -> None:
        name = self._host.buildah("from", "--pull-never", f"localhost/{IMAGE}").stdout.strip()
        self._host.buildah("run", name, "sleep", str(seconds))
        self._host.buildah("rm", name)

    def _incus(self, seconds: int) -> None:
        name = f"life{next(self._numbers)}"
        incus.launch(self._host, name)
        self._host.run("incus", "exec", name, "--", "sleep", str(seconds))
        incus.delete(self._host, name)


def _done(futures: list[Future[None]]) -> int:
    ended = [future for future in futures if future.done()]
    for future in ended:
        future.result()
    return len(ended)
