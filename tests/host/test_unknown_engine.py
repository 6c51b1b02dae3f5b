"""An engine that no module knows, on a booted host: told with the entry that guards it, which then does."""

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.machine import Machine
from tests.support.wait import wait_until

STATE, RUN = "/var/lib/acme", "/run/acme"
DROP_IN = "/etc/mountwarden/mountwarden.toml.d/acme.toml"
NAMES = ("web", "db")

DAEMON = f"""#!/usr/bin/python3
# A small engine: a database of its own, an overlay, a /dev/shm and a network namespace for each container.
import os, socket, subprocess, sys
database = open("{STATE}/acme.db", "w")
for name in sys.argv[1:]:
    base = f"{STATE}/layers/{{name}}"
    for part in ("lower", "upper", "work", "merged"):
        os.makedirs(f"{{base}}/{{part}}", exist_ok=True)
    options = f"lowerdir={{base}}/lower,upperdir={{base}}/upper,workdir={{base}}/work"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, f"{{base}}/merged"], check=True)
    os.makedirs(f"{RUN}/shm/{{name}}", exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "shm", f"{RUN}/shm/{{name}}"], check=True)
    os.makedirs("{RUN}/ns", exist_ok=True)
    open(f"{RUN}/ns/{{name}}", "w").close()
    subprocess.run(["unshare", f"--net={RUN}/ns/{{name}}", "true"], check=True)
lock = open("{RUN}/lock", "w")
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
notify.recv(1)
"""
UNIT = "[Service]\nType=notify\nExecStart=/usr/local/bin/acmed {names}\n"


@pytest.fixture
def acme(host: Machine) -> Iterator[Machine]:
    """With the engine's daemon running, which is a service, and two of its containers."""
    host.run("mkdir", "-p", STATE, RUN)
    host.run("mount", "-t", "tmpfs", "acme", STATE)
    host.write("/usr/local/bin/acmed", DAEMON)
    host.run("chmod", "755", "/usr/local/bin/acmed")
    host.write("/etc/systemd/system/acmed.service", UNIT.format(names=" ".join(NAMES)))
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "start", "acmed.service")
    yield host
    host.run("systemctl", "stop", "acmed.service")
    host.run("sh", "-c", f"umount -l {RUN}/ns/* {RUN}/shm/* {STATE}/layers/*/merged {STATE}", check=False)
    host.run("rm", "-rf", RUN, DROP_IN)


def doctor(host: Machine) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(host.run("mountwarden", "doctor", "--no-canary", "--json").stdout)
    return told


def unknown(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [check for check in document["checks"] if check["id"] == "engines.unknown"]


def leaked(host: Machine) -> set[str]:
    done = host.run("mountwarden", "report", "--no-wait", "--json", check=False)
    return {one["mountpoint"] for one in json.loads(done.stdout)["findings"] if one["kind"] == "leaked"}


def test_it_is_told_with_the_entry_and_the_entry_guards_it(acme: Machine) -> None:
    document = doctor(acme)
    pid = acme.main_pid("acmed.service")
    lines = {check["text"].split(", where")[0]: check for check in unknown(document)}
    assert lines.keys() == {f"an engine that is not known here mounts below {path}" for path in (STATE, RUN)}
    for check in lines.values():
        assert check["status"] == "warn"
        assert f"process {pid} (acmed, acmed.service)" in check["text"]
    by_directory = {one["directory"]: one for one in document["unguarded"]}
    assert by_directory[STATE]["layouts"] == [
        {"directory": f"{STATE}/layers", "patterns": ["*/merged"], "fstypes": ["overlay"], "mounts": 2}
    ]
    # As an operator pastes it: the lines below the first one.
    pasted = "".join(line + "\n" for check in lines.values() for line in check["hint"].split("\n")[1:])
    acme.run("mkdir", "-p", "/etc/mountwarden/mountwarden.toml.d")
    acme.write(DROP_IN, pasted)
    acme.run("mountwarden", "config", "check")
    after = doctor(acme)
    assert unknown(after) == []
    known = {check["text"].split(":")[0] for check in after["checks"] if check["id"] == "roots"}
    assert known >= {f"{STATE}/layers (custom, custom)", f"{RUN}/ns (custom, netns)", f"{RUN}/shm (custom, custom)"}

    unit = acme.unit("bystander", "PrivateTmp=yes", "MountFlags=private")
    points = {f"{STATE}/layers/web/merged", f"{RUN}/shm/web", f"{RUN}/ns/web"}
    acme.run("umount", *points)
    wait_until(lambda: leaked(acme) >= points, 10, "each planted leak is found")
    acme.run("systemctl", "stop", unit)
    assert not leaked(acme) & points


def test_it_is_told_by_who_works_there_too(acme: Machine) -> None:
    """A daemon that has no file open but its working directory there."""
    acme.run("systemctl", "stop", "acmed.service")
    assert unknown(doctor(acme)) == [], "nobody's: mounts alone are no engine"
    acme.run("systemd-run", "--unit=worker.service", f"--working-directory={STATE}", "sleep", "infinity")
    (check,) = unknown(doctor(acme))
    acme.run("systemctl", "stop", "worker.service")
    assert "(sleep, worker.service)" in check["text"]
    inside = f"--working-directory={STATE}/layers/web/merged"
    acme.run("systemd-run", "--unit=inside.service", inside, "sleep", "infinity")
    assert unknown(doctor(acme)) == [], "who works in a container's files need not be whose they are"
    acme.run("systemctl", "stop", "inside.service")


def test_what_a_unit_mounts_for_the_operator_is_no_engines(acme: Machine) -> None:
    acme.run("sh", "-c", f"umount -l {RUN}/ns/* {RUN}/shm/*")
    assert len(unknown(doctor(acme))) == 1
    for name in NAMES:
        unit = acme.run("systemd-escape", "-p", "--suffix=mount", f"{STATE}/layers/{name}/merged").stdout.strip()
        where = f"{STATE}/layers/{name}/merged"
        acme.write(f"/etc/systemd/system/{unit}", f"[Mount]\nWhat=overlay\nWhere={where}\nType=overlay\n")
    assert unknown(doctor(acme)) == []
    acme.run("sh", "-c", "rm /etc/systemd/system/*-merged.mount")


def test_one_mount_that_somebody_made_in_a_session_is_no_engines(host: Machine) -> None:
    """An overlay by hand, with a shell beside it; of a service the same is one."""
    host.run("mkdir", "-p", "/srv/trial")
    host.run("mount", "-t", "tmpfs", "trial", "/srv/trial")
    host.run("sh", "-c", "cd /srv/trial && mkdir -p web/l web/u web/w web/merged")
    host.run("sh", "-c", "cd /srv/trial/web && mount -t overlay o -o lowerdir=l,upperdir=u,workdir=w merged")
    beside = ("sh", "-c", "exec 9>/srv/trial/state; echo ready; exec sleep infinity")
    shell = host.popen(*beside)
    assert shell.stdout
    assert shell.stdout.readline() == b"ready\n"
    by_hand = unknown(doctor(host))
    os.killpg(shell.pid, signal.SIGKILL)
    shell.communicate()
    host.unit("trial", command=beside)
    by_service = wait_until(lambda: unknown(doctor(host)), 10, "the service has its file open")
    host.run("systemctl", "stop", "trial.service")
    host.run("umount", "/srv/trial/web/merged", "/srv/trial")
    assert by_hand == []
    assert "(sleep, trial.service)" in by_service[0]["text"]
    assert '[[root]]\npath = "/srv/trial"\n' in by_service[0]["hint"]


def test_engines_are_told_and_observed(host: Machine) -> None:
    """By their processes: the host's, and one of a user, whose name may be a lie and is shown alone."""
    assert unknown(doctor(host)) == []
    host.run("sh", "-c", "for name in nomad dockerd conmon; do cp /usr/bin/sleep /usr/local/bin/$name; done")
    for engine in ("crio", "libpod"):
        scope = ("systemd-run", "--scope", "--quiet", f"--unit={engine}-conmon-1234.scope")
        host.run("sh", "-c", f"{' '.join(scope)} /usr/local/bin/conmon 1000 >/dev/null 2>&1 &")
    wait_until(lambda: host.run("pgrep", "-c", "conmon", check=False).stdout == "2\n", 10, "both monitors run")
    host.run("systemd-run", "--unit=nomad.service", "/usr/local/bin/nomad", "infinity")
    host.run("systemd-run", "--unit=own.service", "-p", "User=daemon", "/usr/local/bin/dockerd", "infinity")
    document = doctor(host)
    told = {one["engine"]: one for one in document["engines"]}
    lines = [check["text"] for check in document["checks"] if check["group"] == "engines"]
    host.run("systemctl", "stop", "nomad.service", "own.service")
    host.run("sh", "-c", "pkill -x conmon; cd /usr/local/bin && rm nomad dockerd conmon")
    assert (told["Nomad"]["of"], told["Nomad"]["roots"]) == ("host", [])
    assert told["Nomad"]["processes"][0]["unit"] == "nomad.service"
    assert told["CRI-O"]["processes"][0]["unit"] == "crio-conmon-1234.scope"
    assert told["podman"]["processes"][0]["unit"] == "libpod-conmon-1234.scope"
    assert (told["Docker"]["of"], told["Docker"]["user"]) == ("user", 1)
    assert any("Docker of user daemon: process" in line and "observed only" in line for line in lines), lines
