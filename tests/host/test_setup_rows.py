"""`packaging/setup` on the kinds of machine that `make run` meets, each a real one as far as the set-up looks.

Distribution and installed packages are changed by mounts in a namespace of the command's own; the user by setpriv. What
needs a fresh machine is in test_fresh_machine.py.
"""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support import checkout

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting over system files needs root"),
]

NOBODY = "65534"
FEDORA = 'ID=fedora\nNAME="Fedora Linux"\n'
DISTRIBUTIONS = {
    FEDORA: "dnf install",
    'ID="rocky"\nID_LIKE="rhel centos fedora"\n': "dnf install",
    'ID="opensuse-leap"\nID_LIKE="suse opensuse"\n': "zypper install",
    "ID=alpine\n": "apk add",
    "ID=arch\n": "pacman -S",
    "ID=gentoo\n": "libsystemd",
}
HIDDEN = 'raise ImportError("hidden by a test")\n'


@contextlib.contextmanager
def _checkout() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mountwarden-setup-") as place:
        Path(place).chmod(0o755)
        copy = checkout.copy(Path(place) / "source")
        for path in [copy, *copy.rglob("*")]:
            os.lchown(path, int(NOBODY), int(NOBODY))
        yield copy


@pytest.fixture
def source() -> Iterator[Path]:
    """A checkout that every user can reach and that belongs to nobody."""
    with _checkout() as made:
        yield made


@pytest.fixture(scope="module")
def ready() -> Iterator[Path]:
    """Such a one that is set up, without apt, which takes seconds."""
    with _checkout() as made:
        done = _setup(made, NO_APT="1")
        assert done.returncode == 0, done.stderr
        yield made


class Disguise:
    """Files and directories to be bound over the system's own, for one command."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._binds: list[tuple[Path, Path]] = []

    def file(self, target: str, text: str) -> "Disguise":
        """Let the file `target` have this text, and be executable."""
        stand_in = self._place / f"stand-in-{len(self._binds)}"
        stand_in.write_text(text)
        stand_in.chmod(0o755)
        self._binds.append((stand_in, Path(target).resolve()))
        return self

    def without(self, module: str) -> "Disguise":
        """Let the system's python3 be unable to import the package `module`."""
        where = f"import importlib.util; print(importlib.util.find_spec({module!r}).origin)"
        origin = subprocess.run(["/usr/bin/python3", "-I", "-c", where], check=True, capture_output=True, text=True)
        stand_in = self._place / f"stand-in-{len(self._binds)}"
        stand_in.mkdir()
        (stand_in / "__init__.py").write_text(HIDDEN)
        self._binds.append((stand_in, Path(origin.stdout.strip()).parent))
        return self

    def argv(self) -> list[str]:
        """The words before a command that make it see all that."""
        script = "".join(f"mount --bind '{source}' '{target}' && " for source, target in self._binds)
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", f'{script}exec "$@"', "sh"]


@pytest.fixture
def disguise(tmp_path: Path) -> Disguise:
    return Disguise(tmp_path)


def _environment(**extra: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in {"NO_APT", "CI", "MAKEFLAGS"}}
    return {**kept, "HOME": "/nonexistent", **extra}


def _setup(
    source: Path, before: Sequence[str] = (), *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*before, str(source / "packaging/setup"), *arguments],
        env=_environment(**environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def _as_nobody() -> list[str]:
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all", "--"]


def _imports(source: Path, *modules: str) -> bool:
    python = source / ".venv/bin/python3"
    return python.exists() and not subprocess.run([python, "-I", "-c", f"import {', '.join(modules)}"]).returncode


def test_no_apt_goes_on_where_nothing_is_missing_and_a_second_run_is_quiet_and_quick(ready: Path) -> None:
    assert _imports(ready, "mountwarden", "inotify_simple", "pystemd", "sdnotify")
    started = time.monotonic()
    second = _setup(ready)
    took = time.monotonic() - started
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert took <= 5


def test_a_changed_lock_is_installed_anew(ready: Path) -> None:
    lock = ready / "packaging/lock/runtime.txt"
    lock.write_text(lock.read_text() + "# another day\n")
    again = _setup(ready)
    assert again.returncode == 0
    assert "packaging/lock/runtime.txt" in again.stdout
    assert "packaging/lock/build.txt" not in again.stdout


def test_a_wrong_hash_is_refused(source: Path) -> None:
    lock = source / "packaging/lock/runtime.txt"
    lock.write_text(re.sub(r"sha256:\w{4}", "sha256:0000", lock.read_text()))
    done = _setup(source)
    assert done.returncode == 2
    assert "HASHES" in done.stderr
    assert not _imports(source, "inotify_simple")


def test_a_moved_checkout_gets_a_venv_of_its_own(ready: Path) -> None:
    moved = ready.rename(ready.with_name("moved"))
    assert _setup(moved).returncode == 0
    where = [moved / ".venv/bin/python3", "-I", "-c", "import mountwarden; print(mountwarden.__file__)"]
    found = subprocess.run(where, check=True, capture_output=True, text=True).stdout
    assert found.startswith(str(moved))
    moved.rename(ready)


def test_what_a_link_leads_to_is_left_alone(source: Path) -> None:
    kept = source.with_name("kept")
    kept.mkdir()
    (kept / "file").write_text("somebody's")
    (source / ".venv").symlink_to(kept)
    done = _setup(source)
    assert (done.returncode, "is a link" in done.stderr) == (2, True)
    assert (kept / "file").read_text() == "somebody's"


def test_no_apt_prints_the_line_and_stops(source: Path, disguise: Disguise) -> None:
    done = _setup(source, disguise.without("pystemd").without("ensurepip").argv(), NO_APT="1")
    assert done.returncode == 2
    assert "apt-get install --no-install-recommends python3-venv python3-pystemd\n" in done.stderr
    assert not (source / ".venv").exists()


@pytest.mark.parametrize("text", DISTRIBUTIONS, ids=lambda text: text.splitlines()[0])
def test_another_distribution_without_venv_gets_its_line_and_stops(source: Path, disguise: Disguise, text: str) -> None:
    done = _setup(source, disguise.file("/etc/os-release", text).without("ensurepip").argv())
    assert done.returncode == 2
    assert DISTRIBUTIONS[text] in done.stdout
    assert "apt" not in done.stdout + done.stderr
    assert not (source / ".venv").exists()


def test_another_distribution_goes_on_where_the_imports_work(source: Path, disguise: Disguise) -> None:
    disguise.file("/etc/os-release", FEDORA)
    done = _setup(source, disguise.argv())
    assert done.returncode == 0, done.stderr
    assert "dnf install" in done.stdout
    assert _imports(source, "mountwarden", "inotify_simple", "pystemd", "sdnotify")
    assert _setup(source, disguise.argv()).stdout == ""


def test_a_debian_derivative_is_known_by_what_it_is_like(source: Path, disguise: Disguise) -> None:
    disguise.file("/etc/os-release", 'ID=linuxmint\nID_LIKE="ubuntu debian"\n').without("sdnotify")
    done = _setup(source, disguise.argv(), NO_APT="1")
    assert "apt-get install --no-install-recommends python3-sdnotify" in done.stderr


def test_without_root_apt_is_never_run(source: Path, disguise: Disguise) -> None:
    # The words of the stand-in would show in the output, had it been called.
    disguise.file(shutil.which("apt-get") or "/usr/bin/apt-get", "#!/bin/sh\necho called >&2\nexit 9\n").without(
        "pystemd"
    )
    done = _setup(source, [*disguise.argv(), *_as_nobody()])
    assert done.returncode == 0, done.stderr
    assert "as root, what is missing comes by: apt-get install --no-install-recommends python3-pystemd" in done.stdout
    assert "called" not in done.stdout + done.stderr
    assert _imports(source, "mountwarden", "inotify_simple")


def test_without_root_a_foreign_checkout_says_what_to_do(source: Path) -> None:
    os.chown(source, 0, 0)
    done = _setup(source, _as_nobody())
    assert done.returncode == 2
    assert f"{source} is not writable" in done.stderr


def test_an_old_python_is_named(source: Path, disguise: Disguise) -> None:
    old = '#!/bin/sh\n[ "$1" = -V ] && echo Python 3.9.2\nexit 1\n'
    done = _setup(source, disguise.file("/usr/bin/python3", old).argv(), NO_APT="1")
    assert done.returncode == 2
    assert "needs Python 3.11 or newer; /usr/bin/python3 is Python 3.9.2" in done.stderr
