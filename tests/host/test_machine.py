"""The test host is what the tests take it for: a real systemd, clean at each boot, gone at the end."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import loops
from tests.support.machine import PROJECT, Machine
from tests.support.shell import SESSION, CommandFailed
from tests.support.wait import wait_until

MERGED = "/var/lib/docker/overlay2/aaaa/merged"
MOUNT_LAYER = """
set -e; cd /var/lib/docker/overlay2/aaaa
mount -t overlay overlay -o lowerdir=lower,upperdir=diff,workdir=work merged
"""


@pytest.fixture
def layer(host: Machine) -> str:
    """An overlay layer, mounted where Docker would."""
    host.run("mkdir", "-p", *(f"/var/lib/docker/overlay2/aaaa/{name}" for name in ("lower", "diff", "work", "merged")))
    host.run("sh", "-c", MOUNT_LAYER)
    return MERGED


def mounts(host: Machine, pid: int) -> list[str]:
    return [line.split()[4] for line in host.read(f"/proc/{pid}/mountinfo").splitlines()]


def test_systemd_runs_the_host(host: Machine, record_property: Callable[[str, object], None]) -> None:
    assert host.read("/proc/1/comm").strip() == "systemd"
    assert host.run("systemctl", "is-system-running").stdout.strip() == "running"
    assert host.run("systemctl", "--failed", "--no-legend").stdout == ""
    record_property("boot_seconds", round(host.boot_seconds, 3))
    assert host.boot_seconds < 10


def test_every_mount_is_shared_as_after_a_real_boot(host: Machine) -> None:
    lines = host.read("/proc/1/mountinfo").splitlines()
    assert [line for line in lines if " shared:" not in line] == []


def test_the_host_cannot_see_what_is_outside(host: Machine) -> None:
    assert str(PROJECT) not in host.read("/proc/1/mountinfo")
    assert Path(f"/proc/{host.pid}/root{PROJECT}").exists() is False
    for kind in ("mnt", "pid", "uts", "ipc", "cgroup", "net"):
        assert os.readlink(f"/proc/{host.pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}")


def test_run_gives_status_and_output(host: Machine) -> None:
    done = host.run("sh", "-c", 'cat; echo "$WORD" >&2; exit 3', check=False, input="in ü\n", env={"WORD": "out"})
    assert (done.returncode, done.stdout, done.stderr) == (3, "in ü\n", "out\n")
    with pytest.raises(CommandFailed, match="no such thing"):
        host.run("sh", "-c", "echo no such thing >&2; false")


def test_run_takes_nothing_from_the_testers_environment(host: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1")
    assert "DOCKER_HOST" not in host.run("env").stdout


def test_run_ends_what_is_late(host: Machine) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        host.run("sh", "-c", "sleep 4711", timeout=0.5)
    wait_until(lambda: host.run("pgrep", "-f", "sleep 4711", check=False).returncode == 1, what="the command is gone")


def test_commands_run_in_an_operators_session(host: Machine) -> None:
    assert host.run("tail", "-n", "1", "/proc/self/cgroup").stdout == f"0::/user.slice/user-0.slice/{SESSION}\n"


def test_files_go_in_and_come_back(host: Machine, tmp_path: Path) -> None:
    host.write("/var/tmp/new/dir/file", "text ü\n", 0o600)
    assert host.read("/var/tmp/new/dir/file") == "text ü\n"
    assert host.run("stat", "-c", "%a %U", "/var/tmp/new/dir/file").stdout == "600 root\n"
    (tmp_path / "a").mkdir()
    (tmp_path / "a/script").write_text("#!/bin/sh\necho hello\n")
    (tmp_path / "a/script").chmod(0o755)
    host.copy_in(tmp_path / "a", "/opt/there")
    assert host.run("/opt/there/script").stdout == "hello\n"


def test_the_journal_is_read_by_fields(host: Machine) -> None:
    host.run("logger", "-t", "mark", "first")
    host.run("logger", "-t", "mark", "second\x1b")
    assert [entry["MESSAGE"] for entry in host.journal("SYSLOG_IDENTIFIER=mark")] == ["first", "second\x1b"]
    assert host.journal("SYSLOG_IDENTIFIER=nobody") == []


def test_a_unit_has_its_namespace_when_unit_returns(host: Machine) -> None:
    unit = host.unit("quiet", "PrivateTmp=yes")
    pid = host.main_pid(unit)
    assert host.read(f"/proc/{pid}/comm").strip() == "sleep"
    assert host.read(f"/proc/{pid}/cgroup").splitlines()[-1] == "0::/system.slice/quiet.service"
    outer = host.outer_pid(pid)
    assert os.readlink(f"/proc/{outer}/ns/mnt") != os.readlink(f"/proc/{host.pid}/ns/mnt")
    host.run("systemctl", "stop", unit)
    assert host.show(unit, "ActiveState") == "inactive"


def test_a_private_unit_keeps_what_home_unmounts_and_rmdir_detaches_it(host: Machine, layer: str) -> None:
    private = host.main_pid(host.unit("leaky", "PrivateTmp=yes", "MountFlags=private"))
    slave = host.main_pid(host.unit("tame", "PrivateTmp=yes"))
    assert layer in mounts(host, private)
    assert layer in mounts(host, slave)
    host.run("umount", layer)
    assert layer in mounts(host, private), "cut off: the umount does not reach it"
    assert layer not in mounts(host, slave), "systemd's default, a slave: the umount reaches it"
    host.run("rmdir", layer)
    assert layer not in mounts(host, private)
    host.run("systemctl", "stop", "leaky", "tame")


@pytest.mark.parametrize("file", ["/tmp/disk", "/root/disk"], ids=["tmpfs", "overlay"])
def test_a_loop_device_works_and_is_detached_at_the_end(file: str) -> None:
    with Machine() as machine:
        machine.run("truncate", "-s", "16M", file)
        machine.run("mkfs.ext4", "-q", file)
        device = machine.run("losetup", "--show", "-f", file).stdout.strip().removeprefix("/dev/")
        machine.run("mount", f"/dev/{device}", "/srv")
        assert loops.attached(machine.pid) == (device,)
    backing = Path("/sys/block", device, "loop/backing_file")
    wait_until(lambda: not backing.exists(), what=f"{device} is free")


def test_a_host_ends_with_its_supervisor_and_the_next_one_tidies_up() -> None:
    with Machine() as machine:
        name = machine.name
        os.kill(machine.supervisor_pid, signal.SIGKILL)
        wait_until(lambda: not Path(f"/proc/{machine.pid}").exists(), what="init is gone")
    with Machine():
        assert not _groups(name)


def test_two_hosts_at_once_and_each_boot_is_clean(host: Machine) -> None:
    host.write("/etc/mark", "mine")
    with Machine() as other:
        assert other.run("test", "-e", "/etc/mark", check=False).returncode == 1
        other.unit("only-there")
        assert host.show("only-there.service", "LoadState") == "not-found"
    assert host.read("/etc/mark") == "mine"


def test_a_unit_is_not_seen_nor_ended_from_another_host(host: Machine) -> None:
    with Machine() as other:
        mine, others = (machine.unit("twin") for machine in (host, other))
        pid = host.main_pid(mine)
        groups = [machine.run("cat", f"/sys/fs/cgroup/system.slice/{mine}/cgroup.procs") for machine in (host, other)]
        assert [group.stdout.split() for group in groups] == [[str(pid)], [str(other.main_pid(others))]]
        other.run("systemctl", "kill", "--signal=KILL", others)
        wait_until(lambda: other.show(others, "ActiveState") == "failed", 10, "it is ended")
    assert (host.main_pid(mine), host.show(mine, "ActiveState")) == (pid, "active")
    host.run("systemctl", "stop", mine)


def test_what_is_made_in_dev_is_a_hosts_own(host: Machine) -> None:
    ours = os.stat("/dev").st_dev
    assert host.run("stat", "-f", "-c", "%T", "/dev").stdout == "tmpfs\n"
    with Machine() as other:
        places = {Path(f"/proc/{machine.pid}/root/dev").stat().st_dev for machine in (host, other)}
        assert len({ours, *places}) == 3, "else what follows would harm the machine"
        host.run("sh", "-c", "echo text > /dev/mark && rm /dev/full && echo text > /dev/full")
        assert other.run("stat", "-c", "%F", "/dev/full").stdout == "character special file\n"
        assert other.run("test", "-e", "/dev/mark", check=False).returncode == 1
    assert Path("/dev/full").is_char_device()
    assert not Path("/dev/mark").exists()
    host.run("sh", "-c", "rm /dev/mark /dev/full && mknod -m 666 /dev/full c 1 7")


def test_a_tmpfs_is_added_or_left_out() -> None:
    with Machine(tmpfs={"/srv/pool": "size=4m", "/var/lib/kubelet": None}) as machine:
        seen = mounts(machine, 1)
        assert "/srv/pool" in seen
        assert "/var/lib/kubelet" not in seen
        assert machine.run("stat", "-f", "-c", "%s %b", "/srv/pool").stdout == "4096 1024\n"


BOOT_AND_TELL = """
import sys
from tests.support.machine import Machine
with Machine() as machine:
    print(machine.pid, machine.name, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_nothing_is_left_of_a_host_whose_tester_is_killed(end: signal.Signals) -> None:
    env = {**os.environ, "PYTHONPATH": f"{PROJECT}:{PROJECT / 'agent'}"}
    command = [sys.executable, "-c", BOOT_AND_TELL]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=env) as tester:
        assert tester.stdout
        pid, name = tester.stdout.readline().split()
        tester.send_signal(end)
        tester.wait(10)
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), what="the host's init is gone")
    wait_until(lambda: not _groups(name), what="its control group is gone")


def _groups(name: str) -> list[Path]:
    places = [
        Path(line.split()[4]) for line in Path("/proc/self/mountinfo").read_text().splitlines() if " cgroup2 " in line
    ]
    return [place / name for place in places if (place / name).exists()]


def test_the_product_is_installed_with_all_that_it_imports(host: Machine) -> None:
    done = host.python("import mountwarden, pystemd, sdnotify, inotify_simple; print(mountwarden.__file__)")
    assert done.stdout == "/usr/local/lib/mountwarden/mountwarden/__init__.py\n"
    assert host.run("head", "-n", "1", "/usr/local/bin/mountwarden").stdout == "#!/usr/bin/python3 -I\n"
