"""What the graphdriver costs without Docker, each figure beside that of what people have without it, taken in turns.

Run with -s. The aim: apply within 2 times of `tar -x`. `tests/bench/agent/graphdriver.py` has it with Docker.
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
from pathlib import Path

import pytest
from mountwarden.graphdriver.overlay import OverlayDriver

from tests.support.scratch_ns import Sandbox

ROUNDS = 5
SMALL_FILES = ("many small files", 20_000, 4_000)
LAYER = ("a layer", 8_000, 62_500)
BIG_FILES = ("big files", 10, 50_000_000)


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


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
