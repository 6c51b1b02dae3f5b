"""What the graphdriver costs, each figure beside that of what people have without it, taken in turns.

Run with -s. The aims: `docker run` within 1.15 times of overlay2, apply within 2 times of `tar -x`.
"""

import io
import os
import shutil
import statistics
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from mountwarden.graphdriver.overlay import OverlayDriver

from tests.support import tree
from tests.support.machine import Machine
from tests.support.product import install_product
from tests.support.scratch_ns import Sandbox

ROUNDS = 5
PLUGIN = ("--experimental", "-s", "mountwarden")
OVERLAY2 = ("-s", "overlay2")
SMALL_FILES = ("many small files", 20_000, 4_000)
LAYER = ("a layer", 8_000, 62_500)
BIG_FILES = ("big files", 10, 50_000_000)


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def paired(
    ours: Callable[[], object], theirs: Callable[[], object], rounds: int = ROUNDS
) -> tuple[float, float, float]:
    """Medians of both in seconds, and the median of the ratios of each round, whose two halves stand side by side."""
    times = []
    for number in range(rounds):
        if number % 2:
            other = timed(theirs)
            times.append((timed(ours), other))
        else:
            times.append((timed(ours), timed(theirs)))
    return (
        statistics.median(a for a, _ in times),
        statistics.median(b for _, b in times),
        statistics.median(a / b for a, b in times),
    )


def show(what: str, ours: float, theirs: float, ratio: float, other: str) -> None:
    print(f"\n{what}: {ours * 1000:.1f} ms, {other} {theirs * 1000:.1f} ms, ratio {ratio:.2f}")


def archive(path: Path, count: int, size: int) -> None:
    with tarfile.open(path, "w") as tar:
        for number in range(count):
            if number % 100 == 0:
                entry = tarfile.TarInfo(f"d{number // 100}")
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(entry)
            info = tarfile.TarInfo(f"d{number // 100}/file{number}")
            info.size, info.mtime = size, number
            tar.addfile(info, io.BytesIO(os.urandom(size)))


@pytest.fixture
def disk() -> Iterator[Path]:
    """A directory on the disk, not in memory."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        yield Path(name)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("name", "count", "size"), [LAYER, SMALL_FILES, BIG_FILES])
def test_apply_against_tar(disk: Path, name: str, count: int, size: int) -> None:
    source = disk / "layer.tar"
    archive(source, count, size)
    driver = OverlayDriver.init(str(disk / "home"), load_module=False)
    target = disk / "tar"
    target.mkdir()
    driver.create("layer")
    times = []
    for _ in range(ROUNDS):
        os.sync()
        ours = timed(lambda: _apply(driver, source))
        driver.remove("layer")
        driver.create("layer")
        os.sync()
        theirs = timed(lambda: subprocess.run(["tar", "-C", target, "-xpf", source], check=True))
        shutil.rmtree(target)
        target.mkdir()
        times.append((ours, theirs))
    ratio = statistics.median(a / b for a, b in times)
    medians = [statistics.median(column) for column in zip(*times, strict=True)]
    show(f"apply of {name} ({source.stat().st_size >> 20} MiB, {count} files)", medians[0], medians[1], ratio, "tar -x")
    assert ratio < 5


def _apply(driver: OverlayDriver, source: Path) -> None:
    with open(source, "rb") as stream:
        driver.apply_diff("layer", "", stream)


def test_get_and_put() -> None:
    with Sandbox() as sandbox:
        get, put, bare = sandbox.run(_get_and_put, timeout=50)
    print(f"\nget {get * 1e6:.0f} µs, put {put * 1e6:.0f} µs; mount(8) and umount(8) as programs {bare * 1e6:.0f} µs")
    assert get + put < 0.05


def _get_and_put() -> tuple[float, float, float]:
    driver = OverlayDriver.init("/mnt/home", load_module=False)
    driver.create("base")
    driver.create("c", "base")
    gets, puts, programs = [], [], []
    for _ in range(200):
        gets.append(timed(lambda: driver.get("c")))
        puts.append(timed(lambda: driver.put("c")))
    options = "lowerdir=/mnt/home/base/root,upperdir=/mnt/home/c/upper,workdir=/mnt/home/c/work"
    os.mkdir("/mnt/m")
    for _ in range(20):
        command = f"mount -t overlay -o {options} overlay /mnt/m && umount /mnt/m"
        programs.append(timed(lambda line=command: subprocess.run(["sh", "-c", line], check=True)))  # type: ignore[misc]
    return statistics.median(gets), statistics.median(puts), statistics.median(programs)


@pytest.mark.timeout(900)
def test_docker_against_overlay2() -> None:
    if reason := tree.obstacle():
        pytest.skip(reason)
    with ExitStack() as stack:
        plugin, builtin = (stack.enter_context(Machine()) for _ in range(2))
        install_product(plugin)
        plugin.run("systemctl", "start", "mountwarden-graphdriver.socket", "mountwarden-graphdriver.service")
        plugin.start_docker(*PLUGIN)
        builtin.start_docker(*OVERLAY2)
        for machine in (plugin, builtin):
            prepare(machine)
        for what, command, rounds in COMMANDS:
            ours, theirs = (partial(m.run, "sh", "-c", command, timeout=300) for m in (plugin, builtin))
            show(what, *paired(ours, theirs, rounds), "overlay2")


BUILD = "docker build -q --network none --no-cache -t built /root/ctx >/dev/null"
COMMANDS = (
    ("docker run --rm", "docker run --rm --network none bb true", 25),
    (
        "docker run --rm, 10 in a row",
        "for i in 0 1 2 3 4 5 6 7 8 9; do docker run --rm --network none bb true; done",
        5,
    ),
    ("docker build, classic", f"DOCKER_BUILDKIT=0 {BUILD}", 7),
    ("docker build, BuildKit", f"DOCKER_BUILDKIT=1 {BUILD}", 7),
    ("docker run --rm on Debian", "docker run --rm --network none debian true", 9),
    ("docker commit of Debian", "docker commit changed smaller >/dev/null", 5),
    ("docker load of Debian", "docker rmi -f debian smaller >/dev/null; docker load -qi /tmp/debian.tar >/dev/null", 3),
)


def prepare(machine: Machine) -> None:
    machine.import_image()
    lines = ("FROM bb", "RUN mkdir /made && echo one > /made/one", "COPY data /data", "RUN echo two >> /data/file")
    machine.write("/root/ctx/Dockerfile", "\n".join(lines) + "\n")
    machine.write("/root/ctx/data/file", "copied\n")
    pack = "tar -C / --one-file-system --exclude=./var/lib --exclude=./proc --exclude=./sys --exclude=./dev -c ."
    machine.run("sh", "-c", f"{pack} | docker import - debian", timeout=300)
    machine.docker("run", "--name", "changed", "--network", "none", "debian", "touch", "/etc/mark")
    machine.run("sh", "-c", "docker save -o /tmp/debian.tar debian", timeout=300)
