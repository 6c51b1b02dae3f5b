"""`make run` on the kinds of machine that it meets: what the demo and the report do there, and the exit status."""

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support import checkout

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(os.geteuid() != 0, reason="making other kinds of machine needs root"),
]

NOBODY = 65534
GONE = "The namespaces ended with the demo"
"""How the last lines of the demo begin, wherever they are wrapped."""


@pytest.fixture(scope="module")
def source() -> Iterator[Path]:
    """A checkout that is set up, and that belongs to a user without rights."""
    with tempfile.TemporaryDirectory(prefix="mountwarden-run-") as place:
        Path(place).chmod(0o755)
        copy = checkout.copy(Path(place) / "source")
        subprocess.run([copy / "packaging/setup"], check=True, stdin=subprocess.DEVNULL, capture_output=True)
        for path in [copy, *copy.rglob("*")]:
            os.lchown(path, NOBODY, NOBODY)
        yield copy


def _run(source: Path, before: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if key not in {"NO_APT", "CI", "MAKEFLAGS", "MAKELEVEL"}}
    return subprocess.run(
        [*before, "make", "-s", "-C", str(source), "run"],
        env=kept | {"HOME": "/nonexistent"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def _in_mount_namespace(script: str) -> list[str]:
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", f'{script} && exec "$@"', "sh"]


def _as_nobody() -> list[str]:
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all", "--"]


def _parts(output: str) -> tuple[str, str]:
    """What is printed up to the end of the demo, and after it; lines are joined, since the demo wraps its text."""
    demo, ending, rest = " ".join(output.split()).partition(GONE)
    assert ending, output
    return demo, rest


def test_without_systemd_it_says_so_and_shows_leak_and_detach(source: Path) -> None:
    done = _run(source, _in_mount_namespace("mount -t tmpfs none /run"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "systemd does not run here" in done.stdout
    demo, report = _parts(done.stdout)
    assert "leaked" in demo
    assert "detached" in demo
    assert " mounts in " in report, "the report of this very host follows"


def test_a_report_with_findings_is_a_success(source: Path, tmp_path: Path) -> None:
    # A launcher whose report says that something is wrong: its exit status 1 is not make's.
    stand_in = _launcher(tmp_path, 'case $1 in report) echo "1 warning"; exit 1 ;; esac')
    done = _run(source, _in_mount_namespace(f"mount --bind {stand_in} {source}/.venv/bin/mountwarden"))
    assert done.returncode == 0, done.stderr
    assert "1 warning" in done.stdout


def test_a_report_that_could_not_be_made_is_a_failure(source: Path, tmp_path: Path) -> None:
    stand_in = _launcher(tmp_path, "case $1 in report) exit 2 ;; esac")
    done = _run(source, _in_mount_namespace(f"mount --bind {stand_in} {source}/.venv/bin/mountwarden"))
    assert done.returncode == 2


def test_a_host_that_is_out_of_sight_is_said_and_is_no_failure(source: Path) -> None:
    done = _run(source, ["unshare", "--mount", "--pid", "--fork", "--mount-proc"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "could not read the host: PID 1 here is a container's own (make)" in _parts(done.stdout)[1]


def _launcher(place: Path, script: str) -> Path:
    file = place / "launcher"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


def test_without_root_the_demo_runs_and_the_report_is_left_out(source: Path) -> None:
    done = _run(source, _as_nobody())
    assert done.returncode == 0, done.stdout + done.stderr
    demo, rest = _parts(done.stdout)
    assert "leaked" in demo
    assert "detached" in demo
    assert "This host's own report needs root" in rest
    assert " mounts in " not in rest


def test_without_user_namespaces_it_stops_and_names_the_sysctl(source: Path) -> None:
    # The limit is set for one user namespace, whose only user has no rights; this machine's own stays as it is.
    forbid = "echo 0 >/proc/sys/user/max_user_namespaces"
    nested = ["unshare", "--map-current-user", "--keep-caps", "sh", "-c", f'{forbid} && exec "$@"', "sh"]
    done = _run(source, [*_as_nobody(), *nested, "setpriv", "--ambient-caps=-all", "--inh-caps=-all", "--"])
    assert done.returncode == 2, done.stdout + done.stderr
    assert "user.max_user_namespaces" in done.stderr
    assert GONE not in " ".join(done.stdout.split())


def test_another_distribution_does_the_main_job_too(source: Path, tmp_path: Path) -> None:
    release = tmp_path / "os-release"
    release.write_text("ID=fedora\n")
    done = _run(source, _in_mount_namespace(f"mount --bind {release} $(readlink -f /etc/os-release)"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "detached" in _parts(done.stdout)[0]
