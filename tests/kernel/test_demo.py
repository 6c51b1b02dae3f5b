"""The demo for real: as root, as nobody, interrupted, and where no namespace can be made."""

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import mountwarden
import pytest
from mountwarden.kernel import abi, syscalls
from mountwarden.observe import processes
from mountwarden.scratch import stage

from tests.support.scratch_ns import Sandbox
from tests.support.wait import wait_until

AGENT = Path(mountwarden.__file__).parents[1]
NOBODY = 65534
SYSTEM = "/usr/bin/python3"


@pytest.fixture
def program() -> Iterator[Path]:
    """The package where everybody can read it: a checkout's own directory may be closed to others."""
    site = Path("/tmp") / f"mountwarden-test-{os.getpid()}"
    site.mkdir(mode=0o755)
    subprocess.run(["cp", "-r", str(AGENT / "mountwarden"), str(site)], check=True)
    subprocess.run(["chmod", "-R", "a+rX", str(site)], check=True)
    yield site
    subprocess.run(["rm", "-r", str(site)], check=True)


def start(site: Path, before: Callable[[], None] | None = None) -> "subprocess.Popen[str]":
    """The demo, running. `before` is called in the child; then the command is executed."""
    code = f"import sys; sys.path.insert(0, {str(site)!r}); from mountwarden.cli.main import run; run()"
    return subprocess.Popen(
        [SYSTEM, "-I", "-B", "-c", code, "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=before,
        cwd="/",
    )


def become_nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def check_told(out: str) -> None:
    """The whole story was told, and its facts are the kernel's."""
    titles = [line for line in out.splitlines() if line[:1].isdigit()]
    assert [title.split(".")[0] for title in titles] == list("1234567")
    assert "● 1 warning on " in out
    assert re.search(r"process \d+ \(leaky\)", out)
    assert "(evidence: history)" in " ".join(out.split())
    assert "detached: no namespace has a copy any more; nothing holds it open" in " ".join(out.split())
    assert "✓ nothing is wrong on " in out
    assert "nothing is left behind" in " ".join(out.split())


@pytest.mark.parametrize("before", [None, become_nobody], ids=["root", "nobody"])
def test_the_demo_finds_and_ends_its_leak(program: Path, before: Callable[[], None] | None) -> None:
    mounts = processes.read("/proc/self/mountinfo")
    with start(program, before) as demo:
        out, err = demo.communicate(timeout=30)
    assert (demo.returncode, err) == (0, "")
    check_told(out)
    assert processes.read("/proc/self/mountinfo") == mounts, "no mount of this host is touched"


def test_the_demo_works_where_a_fresh_proc_is_refused(program: Path) -> None:
    def mask_proc() -> None:
        # As container engines do: the kernel then refuses a new procfs to a user namespace (mnt_already_visible).
        syscalls.unshare(abi.CLONE_NEWNS)
        syscalls.mount(None, b"/", None, abi.MS_REC | abi.MS_PRIVATE)
        syscalls.mount(b"tmpfs", b"/proc/bus", b"tmpfs", abi.MS_RDONLY)
        become_nobody()

    with start(program, mask_proc) as demo:
        out, err = demo.communicate(timeout=30)
    assert (demo.returncode, err) == (0, "")
    assert "✓ nothing wrong was found" in out or "✓ nothing is wrong" in out
    assert not re.search(r"PID \d\.\n", out), "it has no pid namespace of its own"


@pytest.mark.parametrize(
    "number",
    [signal.SIGKILL, *(pytest.param(one, marks=pytest.mark.long) for one in (signal.SIGINT, signal.SIGTERM))],
)
def test_an_ended_demo_leaves_no_process(program: Path, number: signal.Signals) -> None:
    mounts = processes.read("/proc/self/mountinfo")
    with start(program) as demo:
        assert demo.stdout
        for line in demo.stdout:
            if line.startswith("3. "):
                break
        children = descendants(demo.pid)
        assert len(children) == 5, (
            "the middle one, the stage, the holder, and the children that enter namespaces and ask for superblocks"
        )
        demo.send_signal(number)
        demo.communicate(timeout=10)
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in children), 30)
    assert demo.returncode != 0
    assert processes.read("/proc/self/mountinfo") == mounts


def descendants(pid: int) -> list[int]:
    """The processes below a process."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        children = [int(word) for word in file.read().split()]
    return children + [one for child in children for one in descendants(child)]


def test_without_user_namespaces_it_names_the_sysctl(program: Path) -> None:
    def forbid() -> None:
        # Its own user namespace has a limit of its own: none below it. Executing as no root then drops all rights.
        syscalls.unshare(abi.CLONE_NEWUSER)
        for name, text in (("setgroups", "deny"), ("uid_map", "1000 0 1"), ("gid_map", "1000 0 1")):
            Path(f"/proc/self/{name}").write_text(text)
        Path("/proc/sys/user/max_user_namespaces").write_text("0")

    with start(program, forbid) as demo:
        out, err = demo.communicate(timeout=30)
    assert (demo.returncode, out) == (2, "")
    assert err.splitlines() == [
        "mountwarden: no user namespace can be made here: user.max_user_namespaces is 0",
        "hint: as root: sysctl user.max_user_namespaces=10000, or run it as root",
    ]


@pytest.mark.parametrize(
    ("name", "value", "good"),
    [
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "user.max_user_namespaces=10000"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0"),
    ],
)
def test_every_sysctl_is_named(tmp_path: Path, name: str, value: str, good: str) -> None:
    for other, fine in (("user/max_user_namespaces", "9"), ("kernel/unprivileged_userns_clone", "1"), (name, value)):
        (tmp_path / other).parent.mkdir(exist_ok=True)
        (tmp_path / other).write_text(f"{fine}\n")
    error = stage.refusal(1, str(tmp_path))
    assert (error.status, good in (error.hint or "")) == (2, True)


def test_another_refusal_says_what_the_kernel_said(tmp_path: Path) -> None:
    assert "Operation not permitted" in stage.refusal(1, str(tmp_path)).message


def test_the_stage_covers_nothing_that_python_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert stage.covered() == b"/run"
    monkeypatch.syspath_prepend("/run/somewhere/site-packages")
    assert stage.covered() == b"/mnt"


def test_a_stage_gives_the_status_back() -> None:
    assert stage.stage(lambda: 7) == 7


def test_a_stage_is_its_own_world() -> None:
    own = os.readlink("/proc/self/ns/mnt")

    def inside() -> int:
        same = os.readlink("/proc/self/ns/mnt") == own or len(processes.pids()) > 1 or os.listdir("/run")
        return 1 if same else 0

    assert stage.stage(inside) == 0


def test_cleaning_removes_what_a_killed_demo_left() -> None:
    from mountwarden.scratch import topology

    def left_behind() -> list[str]:
        os.mkdir("/mnt/mountwarden-demo-x")
        topology.root(b"/mnt/mountwarden-demo-x")
        topology.mount_layer(b"/mnt/mountwarden-demo-x/layer")
        topology.clean(b"/mnt/mountwarden-demo-x")
        topology.clean(b"/mnt/mountwarden-demo-x")
        return os.listdir("/mnt")

    with Sandbox() as sandbox:
        assert sandbox.run(left_behind) == []
