"""The Debian tree that test hosts boot from: built once with mmdebstrap, kept in a cache, never written to again.

`python3 -m tests.support.tree [--suite SUITE]... [--extra NAME]...` builds it and prints where it is; without a suite,
the trees of `make test`, side by side. The cache is `$MOUNTWARDEN_CACHE`, else `~/.cache/mountwarden`. A tree's name
holds a hash of suite, packages and this recipe, so a change of any of them gives a new tree. The mirror is the one that
this machine's apt uses.
"""

import argparse
import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support import mirror, rootfs
from tests.support.packages import BASE, EXTRAS, SUITES, TODAY

SUITE = os.environ.get("MOUNTWARDEN_SUITE") or "bookworm"
"""What test hosts are, where nothing else is asked for."""
BOTH = tuple(dict.fromkeys((SUITE, TODAY)))
"""For a test that is another one with today's systemd, Python and engines. In `make test-all` nearly all run there."""
RECIPE = "3"
"""Raise it when what `_furnish` does to a tree changes."""

EXEC_PAGE = "/usr/share/man/man5/systemd.exec.5.gz"
"""The one manual page in a tree: what its systemd says of the directives of units."""

APART = ("unshare", "--mount", "--propagation", "private")
"""mmdebstrap mounts below the tree: in a namespace of its own no test sees that, and no kill leaves it behind."""


class TreeError(Exception):
    """The tree cannot be had here; the text says what to do."""


def cache() -> Path:
    """Where trees are kept: a directory of the invoking user, made when a tree is built."""
    return Path(os.environ.get("MOUNTWARDEN_CACHE") or Path.home() / ".cache" / "mountwarden")


def packages(suite: str = SUITE, extras: Sequence[str] = ()) -> tuple[str, ...]:
    """The packages of a tree with these extras (names of `packages.EXTRAS`)."""
    return tuple(sorted({*BASE, *SUITES[suite], *(name for extra in extras for name in EXTRAS[extra])}))


def path(suite: str = SUITE, extras: Sequence[str] = ()) -> Path:
    """Where the tree is, or will be."""
    furniture = [*_MASKED, *(word for item in sorted(_FILES.items()) for word in item)]
    text = "\n".join([RECIPE, rootfs.RECIPE, suite, *packages(suite, extras), *furniture])
    return cache() / "trees" / f"{suite}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def obstacle(suite: str = SUITE, extras: Sequence[str] = ()) -> str | None:
    """Why no test host can run here, in one sentence; None where one can."""
    if os.geteuid() != 0:
        return "a test host needs root"
    if path(suite, extras).is_dir() or shutil.which("mmdebstrap"):
        return None
    return "a test host needs mmdebstrap: apt install mmdebstrap"


def tree(suite: str = SUITE, extras: Sequence[str] = ()) -> Path:
    """The tree, built first if the cache has none. Runs that want the same one wait for a single build."""
    place = path(suite, extras)
    if place.is_dir():
        return place
    if reason := obstacle(suite, extras):
        raise TreeError(reason)
    place.parent.mkdir(parents=True, exist_ok=True)
    with _lock(place):
        if not place.is_dir():
            _build(place, suite, packages(suite, extras))
    return place


@contextlib.contextmanager
def _lock(place: Path) -> Iterator[None]:
    with open(place.parent / f".{place.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(place: Path, suite: str, wanted: Sequence[str]) -> None:
    for left in place.parent.glob(f".{place.name}.build-*"):
        _remove(left)
    aside = Path(tempfile.mkdtemp(prefix=f".{place.name}.build-", dir=place.parent))
    try:
        _debootstrap(aside / "root", suite, wanted)
        _furnish(aside / "root")
        (aside / "root").rename(place)
    finally:
        _remove(aside)


def _remove(directory: Path) -> None:
    """Only below the cache, and never across a mount."""
    subprocess.run(["rm", "-rf", "--one-file-system", directory], check=True)


def _debootstrap(root: Path, suite: str, wanted: Sequence[str]) -> None:
    command = [*APART, "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", "--include=" + ",".join(wanted)]
    command += ["--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*"]
    # dpkg makes no directory for a file that is included again.
    command += [f"--dpkgopt=path-include={path}" for path in (os.path.dirname(EXEC_PAGE), EXEC_PAGE)]
    command += ["--dpkgopt=path-exclude=/usr/share/doc/*", '--aptopt=Acquire::Languages "none"']
    # A mirror that stands still serves indexes of testing and unstable that have expired; they are still signed.
    command += ['--aptopt=Acquire::Check-Valid-Until "false"']
    command += [suite, str(root), *mirror.lines(suite)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise TreeError(f"mmdebstrap failed ({done.returncode}):\n{done.stderr[-4000:]}")


def _furnish(root: Path) -> None:
    """What a quick boot and tests without a network need: no unit starts by itself, the journal is in memory."""
    rootfs.write_archive(root)
    for name, text in _FILES.items():
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    # In PATH, rootless podman would take it in place of the kernel's overlay.
    (root / "usr/bin/fuse-overlayfs").rename(root / "usr/libexec/fuse-overlayfs")
    subprocess.run(["chroot", root, "useradd", "--uid=1000", "--shell=/bin/bash", "user"], check=True)
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    (root / "etc/resolv.conf").touch()
    subprocess.run(["chroot", root, "systemctl", "preset-all"], check=True, capture_output=True)
    subprocess.run(["chroot", root, "systemctl", "set-default", "multi-user.target"], check=True, capture_output=True)
    subprocess.run(["chroot", root, "systemctl", "mask", *_MASKED], check=True, capture_output=True)


# systemd-sysctl and udev would change the machine that runs the tests: most of /proc/sys and /dev have no namespace.
_MASKED = ("systemd-udevd.service", "systemd-udev-trigger.service", "systemd-modules-load.service",
           "systemd-binfmt.service", "proc-sys-fs-binfmt_misc.automount", "getty.target",
           "systemd-tmpfiles-setup-dev.service", "dev-hugepages.mount", "modprobe@.service",
           "systemd-sysctl.service")  # fmt: skip

_FILES = {
    # runc: crun 1.8 raises RLIMIT_MEMLOCK for its device filter, which needs CAP_SYS_RESOURCE. No limits that need a
    # control group's controller or a right that the machine below may not give.
    "etc/containers/containers.conf": (
        '[containers]\nnetns = "none"\npids_limit = 0\ndefault_ulimits = ["nofile=1024:4096", "nproc=4096:4096"]\n'
        '[engine]\nruntime = "runc"\n'
    ),
    "etc/hostname": "testhost\n",
    "etc/hosts": "127.0.0.1 localhost testhost\n",
    "etc/machine-id": "",
    "etc/systemd/system-preset/00-test-host.preset": "disable *\n",
    "etc/systemd/user-preset/00-test-host.preset": "disable *\n",
    "etc/systemd/journald.conf.d/test-host.conf": (
        "[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\nRuntimeMaxUse=256M\nSyncIntervalSec=1s\n"
        "ForwardToConsole=no\nForwardToWall=no\nReadKMsg=no\n"
    ),
    "etc/systemd/system.conf.d/test-host.conf": (
        "[Manager]\nDefaultTimeoutStopSec=10s\nShowStatus=no\nDefaultEnvironment=LANG=C.UTF-8\n"
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Build the trees, saying so in a line of stderr for each; their paths go to stdout."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.support.tree", description="Build the test host's tree.")
    parser.add_argument(
        "--suite", action="append", choices=sorted(SUITES), help=f"Debian suite (default: {' and '.join(BOTH)})"
    )
    parser.add_argument("--extra", action="append", default=[], choices=sorted(EXTRAS), help="further packages")
    options = parser.parse_args(argv)
    with ThreadPoolExecutor() as pool:
        built = list(pool.map(lambda suite: _told(suite, options.extra), options.suite or BOTH))
    return 0 if all(built) else 1


def _told(suite: str, extras: Sequence[str]) -> bool:
    place = path(suite, extras)
    started = time.monotonic()
    if not place.is_dir():
        print(f"test host: building {place} (a minute or two, 1 GB)", file=sys.stderr, flush=True)
        try:
            tree(suite, extras)
        except TreeError as error:
            print(f"test host: {suite}: {error}", file=sys.stderr)
            return False
        print(f"test host: {suite} built in {time.monotonic() - started:.0f} s", file=sys.stderr)
    print(place)
    return True


if __name__ == "__main__":
    sys.exit(main())
