"""The table of the directives that make a mount namespace, beside what the real PID 1 makes of each."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from mountwarden.systemd.namespacing_directives import TABLE, setting

from tests.support import tree
from tests.support.fixtures import booted
from tests.support.machine import Machine


def settings(*lines: str) -> dict[str, str]:
    """Words of Name=value."""
    return dict(word.split("=", 1) for line in lines for word in line.split())


SETTINGS = settings(
    "DynamicUser=yes PrivateTmp=yes PrivateDevices=yes PrivateMounts=yes PrivateIPC=yes PrivatePIDs=yes PrivateBPF=yes",
    "ProtectSystem=yes ProtectHome=read-only ProtectProc=invisible ProcSubset=pid ProtectControlGroups=yes",
    "ProtectKernelTunables=yes ProtectKernelModules=yes ProtectKernelLogs=yes MountFlags=private LogNamespace=apart",
    "PrivateNetwork=yes NetworkNamespacePath=/proc/1/ns/net IPCNamespacePath=/proc/1/ns/ipc",
    "ReadWritePaths=/opt ReadOnlyPaths=/opt InaccessiblePaths=/opt ExecPaths=/usr NoExecPaths=/opt",
    "ReadWriteDirectories=/opt ReadOnlyDirectories=/opt InaccessibleDirectories=/opt TemporaryFileSystem=/opt",
    "BindPaths=/opt:/mnt BindReadOnlyPaths=/opt:/mnt MountAPIVFS=yes BindLogSockets=yes",
    "MountImages=/srv/layer.raw:/mnt ExtensionImages=/srv/layer.raw ExtensionDirectories=-/nowhere",
    "RootDirectory=/srv/root RootImage=/srv/layer.raw RootMStack=/srv/a.mstack",
    "RuntimeDirectory=a::ro StateDirectory=a::ro CacheDirectory=a::ro LogsDirectory=a::ro ConfigurationDirectory=a::ro",
)
"""A value that makes a mount namespace, for each directive of the table."""

PLAIN = [
    ("RootDirectory", "/"),
    ("StateDirectory", "b"),
    ("StateDirectory", "c:link"),
    ("RuntimeDirectory", "b c"),
    ("PrivateTmp", "No"),
]
"""More values that make none, beside the neutral ones of the table."""

REFUSED = ("DynamicUser", "")
"""The one neutral value with which a unit is not started at all."""

OTHERS = settings(
    "LoadCredential=a:/etc/hostname LoadCredentialEncrypted=a:/srv/secret SetCredential=a:b ImportCredential=a*",
    "ProtectHostname=yes PrivateUsers=yes ProtectClock=yes RestrictNamespaces=yes RootImageOptions=root:ro",
)
"""What is not in the table, though one might take it for a directive of it."""

RENAMED = settings(
    "ReadWriteDirectories=ReadWritePaths ReadOnlyDirectories=ReadOnlyPaths InaccessibleDirectories=InaccessiblePaths"
)
"""Old names that systemd still takes, and what PID 1 calls them."""

SINCE = {"PrivatePIDs": 257, "BindLogSockets": 257, "PrivateBPF": 258, "RootMStack": 260}
"""The version of systemd in which a directive came, where Debian 12 does not know it."""

READ_ONLY = ("RuntimeDirectory", "StateDirectory", "CacheDirectory", "LogsDirectory", "ConfigurationDirectory")
NETWORK = ("PrivateNetwork", "NetworkNamespacePath")
SOMETIMES = {
    **dict.fromkeys(("MountAPIVFS", "BindLogSockets", *READ_ONLY), 257),
    **dict.fromkeys(NETWORK, 254),
    "RootDirectory": 247,
}
"""From which version on a directive that does not always make a namespace does so by itself."""

FURNISH = """
set -e; mkdir -p /srv/root && cd /srv/root
mkdir -p bin dev etc opt proc run sys tmp usr/lib/extension-release.d var/tmp
cp /bin/busybox bin/sleep; echo ID=_any | tee usr/lib/os-release usr/lib/extension-release.d/extension-release.layer
mkdir /srv/a.mstack; ln -s /srv/root /srv/a.mstack/root
mke2fs -q -t ext4 -d /srv/root /srv/layer.raw 16m
echo word | systemd-creds encrypt --with-key=host --name=a - /srv/secret
"""

START = """
import json, os, subprocess, sys
from mountwarden.systemd import units as bus
units, bus.DEADLINE = json.loads(sys.argv[1]), 30
for unit, line in units.items():
    with open(f"/run/systemd/system/{unit}", "w") as file:
        file.write(f"[Service]\\nType=exec\\nExecStart=/bin/sleep infinity\\n{line}\\n")
subprocess.run(["systemctl", "daemon-reload"], check=True)
subprocess.run(["systemctl", "start", *units], stderr=subprocess.DEVNULL)
def apart(pid):
    return os.readlink(f"/proc/{pid}/ns/mnt") != os.readlink("/proc/1/ns/mnt") if pid else None
print(json.dumps({unit: (apart(told.main_pid), [one.name for one in told.directives], told.perhaps)
                  for unit, told in bus.units_facts(units).items()}))
"""


@dataclass(frozen=True)
class Unit:
    """A running unit with one setting."""

    apart: bool | None
    """Its main process is in another mount namespace than PID 1's. None where it did not start."""
    directives: list[str]
    """What the product reads from PID 1, as `perhaps`."""
    perhaps: bool


@dataclass(frozen=True)
class Started:
    """One unit for each (directive, value) that this version of systemd knows."""

    version: int
    units: dict[tuple[str, str], Unit]
    unknown: set[str]


@pytest.fixture(scope="module", params=[tree.SUITE, pytest.param("trixie", marks=pytest.mark.long)])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A test host of each suite, so of several versions of systemd."""
    with booted(request.param) as booted_machine:
        yield booted_machine


@pytest.fixture(scope="module")
def started(machine: Machine) -> Started:
    """All units at once, from unit files, since a neutral value is one that PID 1's own parser takes so."""
    machine.run("sh", "-c", FURNISH)
    neutral = [(row.name, value) for row in TABLE for value in sorted(row.neutral.written | {""})]
    cases = [*SETTINGS.items(), *(case for case in neutral if case != REFUSED), *PLAIN, *OTHERS.items()]
    lines = {f"probe-{number}.service": f"{name}={value}" for number, (name, value) in enumerate(cases)}
    told: dict[str, Any] = json.loads(machine.python(START, json.dumps(lines)).stdout)
    log = machine.run("journalctl", "-o", "cat").stdout
    unknown = {int(number) for number in re.findall(r"/probe-(\d+)\.service:\d+: Unknown key", log)}
    known = {case: Unit(*told[f"probe-{number}.service"]) for number, case in enumerate(cases) if number not in unknown}
    version = int(machine.run("systemctl", "--version").stdout.split()[1])
    return Started(version, known, {cases[number][0] for number in unknown})


def test_each_directive_is_tried() -> None:
    assert set(SETTINGS) == {row.name for row in TABLE}
    assert set(SOMETIMES) == {row.name for row in TABLE if not row.always}
    assert not set(OTHERS) & set(SETTINGS)


def test_what_this_systemd_does_not_know_came_later(started: Started) -> None:
    ours = {row.name for row in TABLE}
    assert started.unknown & ours == {name for name, since in SINCE.items() if since > started.version}


def test_what_always_makes_a_mount_namespace_does(started: Started) -> None:
    tried = {row.name: started.units.get((row.name, SETTINGS[row.name])) for row in TABLE if row.always}
    assert {name: unit for name, unit in tried.items() if unit and not unit.apart} == {}
    told = {name: unit.directives for name, unit in tried.items() if unit}
    assert {name for name, directives in told.items() if not {name, RENAMED.get(name)} & set(directives)} == set()


def test_what_makes_one_sometimes_does_so_from_the_version_that_is_written_down(started: Started) -> None:
    tried = {name: started.units.get((name, SETTINGS[name])) for name in SOMETIMES}
    print(f"systemd {started.version}:", {name: unit.apart for name, unit in tried.items() if unit})
    assert {name: unit.apart for name, unit in tried.items() if unit} == {
        name: SOMETIMES[name] <= started.version for name, unit in tried.items() if unit
    }
    # PID 1 has no property for the flags of this one.
    silent = {name for name, unit in tried.items() if unit and unit.apart and not unit.perhaps}
    assert silent <= {"ConfigurationDirectory"}


def test_a_neutral_value_makes_none(started: Started) -> None:
    none = Unit(apart=False, directives=[], perhaps=False)
    others = {case: unit for case, unit in started.units.items() if case not in SETTINGS.items()}
    assert {case: unit for case, unit in others.items() if unit != none} == {}
    assert {case for case in others if setting("=".join(case))} == set()


def test_the_plugin_names_all_that_gave_it_a_mount_namespace(machine: Machine) -> None:
    lines = ("MountFlags=private", "PrivateTmp=yes", "PrivateIPC=yes", "ProtectProc=default")
    words = ("systemd-run", "--quiet", "--wait", "--pipe", "--unit=plugin", *(f"--property={line}" for line in lines))
    done = machine.run(*words, "mountwarden", "graphdriver", check=False)
    assert done.returncode == 78
    said = re.sub(r" \(/run/systemd/transient/plugin\.service[^ ]*, line \d+\)", "", done.stderr)
    assert said != done.stderr
    assert said.startswith(
        "mountwarden: mounts made here do not reach the host: dockerd would see empty containers, as the plugin's unit "
        "has MountFlags=private, PrivateTmp=yes, PrivateIPC=yes\n"
    )
