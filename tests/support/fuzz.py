"""Coverage-guided fuzzing of what reads others' text: `python -m tests.support.fuzz [--seconds N] [TARGET]...`.

Each target runs in a process of its own under atheris (libFuzzer), from seeds that are real texts. A target raises
nothing but what its parser says that it raises; everything else is a crash, whose input is kept and shown.
"""

import argparse
import functools
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import tree

PROJECT = Path(__file__).resolve().parents[2]
_LONGEST = 4096
"""Bytes of an input."""


def mountinfo(data: bytes) -> None:
    """The table of a text, walked, as a root's home too; and lines found without parsing the text."""
    from mountwarden.mounts.mountinfo import Lines
    from mountwarden.mounts.roots import root_state
    from mountwarden.mounts.table import Table

    from tests.unit.pictures import HOME, ROOT

    table = Table.from_text(data)
    root_state(ROOT, table, HOME)
    for mount in table.mounts:
        table.spot(mount)
        table.visible(mount)
        table.top(mount)
    table.containing(b"/var/lib/docker/overlay2/X/merged")
    lines = Lines(data)
    assert set(lines.holding([b" - "])) == {line for line in data.split(b"\n") if b" - " in line}
    lines.by_id(36)


def sieve(data: bytes) -> None:
    """A foreign text beside a home with one layer: no copy on a spot of the layout is missed."""
    from mountwarden.mounts.roots import Spots, root_state
    from mountwarden.mounts.table import Table
    from mountwarden.observe.mount_lines import LinesInHand
    from mountwarden.observe.tiers.live_at_home import LiveAtHome
    from mountwarden.observe.tiers.needles import needles
    from mountwarden.observe.tiers.prefilter import Common, filter_lines

    from tests.unit.pictures import HOME, ROOT, host_root, layer
    from tests.unit.pictures import table as mounts

    state = root_state(ROOT, mounts(host_root(), layer(20, 1)), HOME)
    told = filter_lines(LinesInHand(data), needles(ROOT.layout, ()), Common(LiveAtHome((state,))))
    found = {one.mount.id for one in told.candidates} | set(map(int, told.smalls))
    table, spots = Table.from_text(data), Spots((state,))
    ids = [line.split(b" ", 1)[0] for line in data.split(b"\n")]
    if len(ids) != len(set(ids)) or re.search(rb"(^|[\n ])0[0-9]", data):
        return  # as the kernel never writes it: an id twice, or with a zero before it
    for mount in table.mounts:
        spot = table.spot(mount)
        if mount.fstype == "overlay" and spot is not None and spots.match(spot) is not None:
            assert mount.id in found, mount


def cgroup(data: bytes) -> None:
    """The unit and container of a cgroup file: names without slashes, whatever it says."""
    from mountwarden.systemd import cgroups as parser

    place = parser.place(data)
    assert all("/" not in name for name in (place.unit, place.container, place.user_unit) if name)


def storage_conf(data: bytes) -> None:
    """A storage.conf, and the same tables as a crio.conf."""
    import tomllib

    from mountwarden.engines import containers_storage as engine

    text = data.decode("utf-8", "surrogateescape")
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError):
        table = {"storage": {"graphroot": text, "driver": text}, "root": text, "storage_option": [text, 1]}
    store = engine._store(engine.table_of(table, "storage"), engine.Store())
    store = engine._of_crio_table(table, store)
    assert store.graphroot.startswith(b"/")
    assert b"\0" not in store.graphroot + store.runroot


def configuration(data: bytes) -> None:
    """A mountwarden.toml: a configuration, or the one error with a place."""
    from mountwarden.config import load
    from mountwarden.errors import ConfigError

    try:
        load.parse(data)
    except ConfigError as error:
        _one_line(error.message)


def snapshot(data: bytes) -> None:
    """The bytes of a snapshot's file."""
    from mountwarden.codec import DecodeError
    from mountwarden.snapshot import file as document

    try:
        _judge(document.parse(data))
    except DecodeError as error:
        _one_line(error.message)


def _one_line(text: str) -> None:
    assert "\n" not in text, text


def facts(data: bytes) -> None:
    """A snapshot's file that is whole but for some values, which the input chooses and replaces."""
    import atheris

    choices = atheris.FuzzedDataProvider(data)
    found = json.loads(_document())
    for _ in range(choices.ConsumeIntInRange(1, 4)):
        _replace(found, choices)
    snapshot(json.dumps(found).encode())


def _replace(found: Any, choices: Any) -> None:
    """Go down into the document by the input's choices, and put something of its choice in the place reached."""
    holder, key = found, "snapshot"
    while isinstance(inner := holder[key], dict | list) and inner and choices.ConsumeIntInRange(0, 9):
        keys = list(inner) if isinstance(inner, dict) else range(len(inner))
        holder, key = inner, keys[choices.ConsumeIntInRange(0, len(keys) - 1)]
    small = choices.ConsumeIntInRange(-1, 300)
    text = choices.ConsumeUnicode(8)
    holder[key] = choices.PickValueInList([small, text, None, True, [], [small], [[small, small]], {}, 1e300, 2**64])


def _judge(taken: Any) -> None:
    from mountwarden.cli import snapshot as command
    from mountwarden.errors import MountwardenError
    from mountwarden.output import report_text as table
    from mountwarden.output import terminal
    from mountwarden.predict import umount
    from mountwarden.snapshot import all_mounts

    told = command.report(taken)
    shown = table.render(told, table.View(terminal.Terminal(), 0.0, all=True))
    assert shown.replace("\n", "").isprintable()
    try:
        seen = all_mounts.seen(taken)
        for path in (b"/", b"/mnt", b"/mnt/a"):
            for lazy in (False, True):
                umount.answer(path, seen, lazy=lazy, inode=seen.own)
    except MountwardenError as error:
        _one_line(error.message)


@functools.cache
def _document() -> str:
    from mountwarden.snapshot import file as document

    from tests.support.snapshots import made

    return document.dumps(made())


def _mountinfo_seeds() -> list[bytes]:
    text = Path("/proc/self/mountinfo").read_bytes()
    return [text[:_LONGEST], *text.splitlines(), b"36 35 0:9 /a\\040b /m rw shared:1 propagate_from:2 - fuse.x  rw,a=b"]


def _sieve_seeds() -> list[bytes]:
    options = b"rw,lowerdir=l,upperdir=/var/lib/docker/overlay2/X/diff,workdir=w\n"
    copy = b"70 50 0:40 / %b rw,relatime%b - overlay overlay " + options
    place = b"/var/lib/docker/overlay2/X/merged"
    return [
        b"50 49 8:1 / / rw master:1 - ext4 /dev/root rw\n" + copy % (place, b" master:7"),
        b"50 49 8:1 / / rw - ext4 /dev/root rw\n" + copy % (place, b""),
        b"49 48 0:9 / / rw - tmpfs t rw\n50 49 8:1 /var/lib /a\\040b rw - ext4 /dev/root rw\n"
        + copy % (b"/a\\040b/docker/overlay2/Y/merged", b""),
    ]


def _cgroup_seeds() -> list[bytes]:
    identity = b"0123456789abcdef" * 4
    return [
        b"0::/system.slice/docker-" + identity + b".scope\n",
        b"1:name=systemd:/user.slice/user-1000.slice/user@1000.service/app.slice/x\\x2dy.service\n0::/\n",
        b"0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-" + identity + b".scope\n",
        b"0::/machine.slice/libpod-" + identity + b".scope/container\n0::/lxc.payload.c1/init.scope\n",
    ]


def _storage_seeds() -> list[bytes]:
    return [
        b'[storage]\ndriver = "overlay"\ngraphroot = "/var/lib/containers/storage"\nrunroot = "$HOME/run"\n',
        b'[storage.options]\nskip_mount_home = true\n[storage.options.overlay]\nskip_mount_home = "true"\n',
        b'root = "/x"\nstorage_option = ["overlay.skip_mount_home=true", "a"]\n[crio]\nstorage_driver = "vfs"\n',
        b"/\xff\x00",
    ]


def _configuration_seeds() -> list[bytes]:
    return [
        b'mode = "observe"\ntick = "500ms"\nresync = 60\nengines = ["docker"]\nmetrics = "/m.prom"\n',
        b'[confirm]\nnetns = "2m"\nlayer = 1\n',
        b'[[root]]\npath = "/r"\nkind = "graph"\nlayout = ["*/merged"]\nfstype = "any"\npolicy = "auto"\n',
        b'[[policy]]\naction = "detach"\npolicy = "ask"\nunit = "a.service"\n',
        b'[[silence]]\nreason = "x"\nuntil = 2030-01-01\nid = "mw-1"\n',
    ]


def _snapshot_seeds() -> list[bytes]:
    return [_document().encode(), b'{"schema":"mountwarden.snapshot/1","shared":{},"snapshot":{}}']


TARGETS: dict[str, tuple[Callable[[bytes], None], Callable[[], list[bytes]], int]] = {
    "mountinfo": (mountinfo, _mountinfo_seeds, _LONGEST),
    "sieve": (sieve, _sieve_seeds, _LONGEST),
    "cgroup": (cgroup, _cgroup_seeds, _LONGEST),
    "storage.conf": (storage_conf, _storage_seeds, _LONGEST),
    "configuration": (configuration, _configuration_seeds, _LONGEST),
    "snapshot": (snapshot, _snapshot_seeds, 1 << 16),
    "facts": (facts, lambda: [bytes(range(64))], 256),
}
"""What is fuzzed: its function, its seeds, and how long an input may be."""


@dataclass(frozen=True)
class Outcome:
    """What came of fuzzing one target."""

    target: str
    executions: int
    edges: int
    crash: bytes | None
    """The input that crashed it."""
    text: str
    """What the fuzzer printed at its end."""


PIP = ("-m", "pip", "--quiet", "install", "--only-binary=:all:", "--require-hashes")


class NotHere(Exception):
    """atheris can't be had for this Python; the text says why."""


def interpreter() -> str:
    """A Python that has atheris, by packaging/lock: made once, kept in the cache. Raises: NotHere."""
    lock = PROJECT / "packaging/lock/fuzz.txt"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    name = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    place = tree.cache() / f"fuzz-{version}-{name}"
    python = place / "bin/python"
    if not (place / "complete").exists():
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(place)],
            [
                str(python),
                "-m",
                "pip",
                "--quiet",
                "install",
                "--only-binary=:all:",
                "--require-hashes",
                "-r",
                str(lock),
            ],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
            if done.returncode:
                raise NotHere(f"atheris can't be had for Python {version}: {_last_line(done.stdout + done.stderr)}")
        (place / "complete").touch()
    return str(python)


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]


def fuzz(target: str, seconds: int) -> Outcome:
    """Fuzz one target in a process of its own for about that long; a crash ends it. Raises: NotHere."""
    with tempfile.TemporaryDirectory(prefix="mountwarden-fuzz-") as place:
        command = [interpreter(), "-m", "tests.support.fuzz", "--inside", place, "--seconds", str(seconds), target]
        path = os.pathsep.join((str(PROJECT / "agent"), str(PROJECT)))
        done = subprocess.run(
            command, cwd=place, env={**os.environ, "PYTHONPATH": path}, capture_output=True, check=False
        )
        text = (done.stdout + done.stderr).decode(errors="replace")
        told = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))  # no progress
        crashes = [file.read_bytes() for file in Path(place).glob("out/*")]
    executions = re.findall(r"number_of_executed_units:\s*(\d+)", text)
    edges = re.findall(r"cov: (\d+)", text)
    if not executions and not crashes:
        raise RuntimeError(f"{target} was not fuzzed:\n{text}")
    counts = int(executions[-1]) if executions else 0
    return Outcome(target, counts, int(edges[-1]) if edges else 0, crashes[0] if crashes else None, told)


def _inside(place: Path, target: str, seconds: int) -> None:
    """The fuzzing process itself: it ends within libFuzzer."""
    import atheris

    function, seeds, longest = TARGETS[target]
    with atheris.instrument_imports(include=["mountwarden", "tomllib"]):
        function(b"")  # the parsers are imported where they are used
        found = seeds()
    for name in ("corpus", "out"):
        (place / name).mkdir()
    for at, seed in enumerate(found):
        (place / "corpus" / str(at)).write_bytes(seed)
    options = ["-print_final_stats=1", f"-max_total_time={seconds}", f"-max_len={longest}", "-timeout=20"]
    atheris.Setup(
        [target, *options, "-rss_limit_mb=1024", f"-artifact_prefix={place}/out/", f"{place}/corpus"], function
    )
    atheris.Fuzz()


def main() -> int:
    """Fuzz the targets one after the other; the exit status says whether any crashed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)} (default: all)")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default: 60)")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        _inside(arguments.inside, arguments.targets[0], arguments.seconds)
        return 0
    try:
        interpreter()
    except NotHere as error:
        sys.exit(str(error))
    outcomes = []
    print(f"{'target':<15}{'executions':>12}{'edges':>8}  crash", flush=True)
    for target in arguments.targets or TARGETS:
        outcomes.append(found := fuzz(target, arguments.seconds))
        print(f"{target:<15}{found.executions:>12,}{found.edges:>8,}  {found.crash or '-'!r}", flush=True)
    crashed = [found for found in outcomes if found.crash is not None]
    print(f"{sum(found.executions for found in outcomes):,} executions, {len(crashed)} crashes")
    for found in crashed:
        print(f"\n{found.target}:\n{found.text}")
    return bool(crashed)


if __name__ == "__main__":
    sys.exit(main())
