"""Each system call of each operation fails once: what was there before is there after, and the next try succeeds."""

import io
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.kernel.graphdriver import operation, tars

AGENT = Path(__file__).parents[3] / "agent"
CALLS = (
    "mkdir", "mkdirat", "rename", "renameat", "renameat2", "mount", "umount2", "rmdir", "unlinkat", "unlink", "link",
    "linkat",
    "openat", "openat2", "fchown", "fchownat", "chown", "lchown", "fchmod", "chmod", "pwrite64", "write", "symlinkat",
    "utimensat", "flock", "getdents64", "fsetxattr", "newfstatat", "statx", "ftruncate", "copy_file_range",
    "readlinkat",
)  # fmt: skip
OPERATIONS = ("create", "create-on-image", "get", "put", "remove", "apply", "diff")
SHORT = {
    "create": ("mkdir", "rename", "copy_file_range"),
    "create-on-image": ("mkdir",),
    "get": ("mount", "mkdir", "chown"),
    "put": ("umount2", "rmdir"),
    "remove": ("unlinkat", "umount2"),
    "apply": ("pwrite64", "linkat", "rename", "fchown"),
    "diff": ("mount", "getdents64"),
}


def run(name: str, *options: str) -> tuple[str, list[str]]:
    """Run an operation under strace: what it said, and the names of its system calls in order."""
    operation.driver().cleanup()
    shutil.rmtree("/mnt/home")
    command = [sys.executable, operation.__file__, name]
    env = {**os.environ, "PYTHONPATH": str(AGENT), "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin
        assert child.stdout
        assert child.stdout.readline() == "ready\n"
        trace = ["strace", "-f", "-p", str(child.pid), "-e", f"trace={','.join(CALLS)}", *options, "-o", "/mnt/trace"]
        with subprocess.Popen(trace, stderr=subprocess.PIPE, text=True) as tracer:
            assert tracer.stderr
            assert "attached" in tracer.stderr.readline()
            child.stdin.write("go\n")
            child.stdin.close()
            said = child.stdout.read()
            child.wait(20)
            tracer.wait(20)
    names = re.findall(r"^\d+ +(\w+)\(", Path("/mnt/trace").read_text(), re.M)
    return said.strip(), names


def steps(name: str, wanted: tuple[str, ...] | None) -> list[tuple[str, int]]:
    """Each system call with its number among those of its name; with `wanted`, the first of each of these."""
    said, names = run(name)
    assert said == "done"
    names = names[: -names[::-1].index("write") - 1] if "write" in names else names  # what the script itself says
    counted = Counter(names)
    if wanted is not None:
        return [(call, 1) for call in wanted if counted[call]]
    return [(call, number) for call, count in counted.items() for number in range(1, count + 1)]


def check(name: str, said: str, step: str) -> None:
    """The home is whole, whatever the operation said, and each next call succeeds."""
    driver = operation.driver()
    where = f"{name} with {step}: {said}"
    left = set(os.listdir("/mnt/home"))
    assert {"base", "init"} <= left, where
    assert not {entry for entry in left if entry.startswith(".")}, where
    assert driver.get_metadata("base") == {"RootDir": "/mnt/home/base/root"}, where
    assert set(tars.contents("/mnt/home/base/root")) == {"d/f", "g"}, where
    assert (Path("/mnt/home/base/root/d").stat().st_mode & 0o777) == 0o755, where
    assert set(os.listdir("/mnt/home/init")) <= {"lower-id", "parent", "upper", "work", "merged"}, where
    if name.startswith("create") and driver.exists("c"):
        assert {"lower-id", "parent", "upper", "work"} == set(os.listdir("/mnt/home/c")), where
        driver.remove("c")
    if name.startswith("create") or name == "remove":
        driver.remove("c")
        assert not os.path.exists("/mnt/home/c"), where
        driver.create("c", "init")
    if name == "apply":
        if said != "done":
            assert set(os.listdir("/mnt/home/n")) - {"tmproot"} >= {"parent"}, where
            driver.remove("n")
            driver.create("n", "base")
            driver.apply_diff("n", "base", tars.tar(*operation.LAYER))
        found = tars.contents("/mnt/home/n/root")
        assert found == {"d/f": b"new", "h": b"new", "big": b"x" * 70_000, "x": b""}, where
    layer = "init" if name in ("apply", "diff") else "c"
    while driver.put(layer):  # a mount that a failed call left, told by its error, is a use to give back
        pass
    path = Path(os.fsdecode(driver.get(layer)))
    assert (path / "written").read_text() == "by init" or name == "create-on-image", where
    driver.put(layer)
    assert f"/mnt/home/{layer}/merged" not in Path("/proc/self/mountinfo").read_text(), where
    assert not os.path.exists(f"/mnt/home/{layer}/merged"), where


def fail(name: str, steps: list[tuple[str, int]]) -> None:
    said = set()
    for call, number in steps:
        answer, _ = run(name, "-e", f"inject={call}:error=EIO:when={number}")
        assert "Traceback" not in answer
        check(name, answer, f"{call} {number}")
        said.add(answer == "done")
    assert said


@pytest.fixture(autouse=True)
def tools() -> None:
    if not shutil.which("strace"):
        pytest.skip("needs strace: apt install strace")


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_main_step_fails(name: str) -> None:
    fail(name, steps(name, SHORT[name]))


@pytest.mark.long
@pytest.mark.timeout(500)
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_step_fails(name: str) -> None:
    fail(name, steps(name, None))


@pytest.mark.parametrize("when", ["mkdirat", "linkat", "pwrite64", "rename", "fchown"])
def test_apply_is_killed(when: str) -> None:
    """SIGKILL in the middle: the layer can be removed and made again; the image below is as it was."""
    run("apply", "-e", f"inject={when}:signal={signal.SIGKILL.value}:when=1")
    driver = operation.driver()
    assert set(tars.contents("/mnt/home/base/root")) == {"d/f", "g"}
    driver.remove("n")
    driver.create("n", "base")
    driver.apply_diff("n", "base", io.BytesIO(tars.tar(*operation.LAYER).read()))
    assert tars.contents("/mnt/home/n/root")["d/f"] == b"new"
