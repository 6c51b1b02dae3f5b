"""Every command says the same from any mount namespace of a booted host; where it can't, it says so."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from mountwarden.output import report_file
from mountwarden.report import types

from tests.support.machine import Machine
from tests.support.product import LIBRARY

pytestmark = pytest.mark.timeout(180)

ROOT = "/srv/layers"
MERGED = f"{ROOT}/one/merged"
CONFIG = 'confirm.layer = 0.2\n[[root]]\npath = "/srv/layers"\nkind = "graph"\n'
MAKE = f"""
set -e; mkdir -p {ROOT}; mount -t tmpfs -o mode=755 layers {ROOT}; mount --make-shared {ROOT}
cd {ROOT}; mkdir -p one/lower one/upper one/work one/merged
mount -t overlay overlay -o lowerdir=one/lower,upperdir=one/upper,workdir=one/work one/merged
"""
IMAGE = """
set -e; mount -t tmpfs image /mnt; mkdir -p /mnt/proc /mnt/tmp /mnt/etc /mnt/opt/its /mnt/usr /mnt/run /mnt/dev /mnt/sys
mount --rbind /proc /mnt/proc; mount --bind /usr /mnt/usr; mount --bind /dev /mnt/dev
for link in bin lib lib64 sbin; do ln -s usr/$link /mnt/$link; done
cp -r "$0" /mnt/opt/its/python; cp -r /usr/lib/python3 /usr/lib/python3.* /mnt/opt/its
cat > /mnt/opt/its/mountwarden <<'END'
import sys
sys.path[:] = [path.replace("/usr/lib", "/opt/its") for path in sys.path]
sys.path.insert(0, "/opt/its/python")
from mountwarden.cli.main import run
run()
END
shift 0; cd /mnt; exec chroot /mnt /usr/bin/python3 -I /opt/its/mountwarden "$@"
"""
"""A container of another image: its own tree, in which alone the product and Python's library are where they are."""

PRIVATE = ("unshare", "--mount", "--propagation", "private")
CONTAINER = (*PRIVATE, "sh", "-c", IMAGE, LIBRARY)
UNIT = ("systemd-run", "--quiet", "--pipe", "--wait", "-p", "PrivateTmp=yes", "-p", "ProtectSystem=full")
BLIND = (*PRIVATE, "setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")
POD = ("unshare", "--mount", "--pid", "--fork", "--mount-proc")


@pytest.fixture
def leak(host: Machine) -> Iterator[str]:
    """A layer that leaked into leaky.service; the id of the finding."""
    host.write("/etc/mountwarden/mountwarden.toml", CONFIG)
    host.run("sh", "-c", MAKE)
    unit = host.unit("leaky", "PrivateTmp=yes", "MountFlags=private")
    host.run("umount", MERGED)
    yield json.loads(host.run("mountwarden", "report", "--json", check=False).stdout)["findings"][0]["id"]
    host.run("systemctl", "stop", unit)
    host.run(
        "sh", "-c", f"umount -l {MERGED} 2>/dev/null; umount -l {ROOT}; rmdir {ROOT}; rm -rf /etc/mountwarden /tmp/s"
    )


def told(host: Machine, *words: str) -> tuple[int, Any, str]:
    done = host.run(*words, check=False)
    return done.returncode, json.loads(done.stdout), done.stderr


@pytest.mark.parametrize(
    "within",
    [
        pytest.param((*PRIVATE, "mountwarden"), id="unshare", marks=pytest.mark.long),
        pytest.param((*UNIT, "/usr/local/bin/mountwarden"), id="unit", marks=pytest.mark.long),
        pytest.param(CONTAINER, id="container"),
    ],
)
def test_the_same_from_any_mount_namespace(host: Machine, leak: str, within: tuple[str, ...]) -> None:
    status, report, err = told(host, *within, "report", "--json")
    jsonschema.Draft202012Validator(report_file.schema()).validate(report)
    assert (status, report["complete"], err) == (1, True, "")
    found = [(one["id"], [holder["unit"] for holder in types.holders(one)]) for one in report["findings"]]
    assert found == [(leak, ["leaky.service"])], report["findings"]
    assert "MountFlags=private" in report["findings"][0]["cause"]["text"], "PID 1 was asked"
    for words in (("explain", leak), ("plan", leak), ("map",), ("doctor",)):
        done = host.run(*within, *words, check=False)
        assert (done.stderr, done.returncode) in {("", 0), ("", 1)}, words
    assert leak in host.run(*within, "plan").stdout
    assert host.run(*within, "who", MERGED, check=False).returncode in {0, 1}
    assert host.run(*within, "history").returncode == 0
    assert "detached" in host.run(*within, "detach", leak).stdout
    assert host.run(*within, "report").stdout.startswith("✓ nothing is wrong on ")
    paused = host.run(*within, "pause", "--for", "1h")
    assert paused.stdout.startswith("paused until ")
    assert host.run("test", "-e", "/run/mountwarden/pause.json").returncode == 0
    host.run("mountwarden", "resume")


def test_files_are_of_the_caller_and_paths_are_of_the_host(host: Machine, leak: str) -> None:
    script = (
        "set -e; mkdir -p /tmp/s; mount -t tmpfs own /tmp/s; cd /tmp/s; mkdir c;"
        "echo 'mode = \"observe\"' > c/mountwarden.toml;"
        "mountwarden snapshot own.json; ls; mountwarden report --from own.json | head -1;"
        "mountwarden report --config c | grep -c 'does nothing by itself';"
        "mountwarden who /tmp/s >/dev/null || true; mountwarden predict umount . || true"
    )
    done = host.run(*PRIVATE, "sh", "-c", script)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("wrote own.json (")
    assert (lines[1:3], lines[4]) == (["c", "own.json"], "1")
    assert "umount of /tmp/s would fail: nothing is mounted there" in lines[5]
    assert done.stderr.count("mountwarden: /tmp/s is the host's; in the mount namespace of the caller") == 2
    assert host.run("ls", "-A", "/tmp/s").stdout == ""


@pytest.mark.parametrize(
    ("within", "why"),
    [
        (BLIND, "this mount namespace is not PID 1's, which may not be entered"),
        (POD, "PID 1 here is a container's own"),
    ],
    ids=["no right", "container"],
)
def test_what_can_not_see_the_host_says_so(host: Machine, leak: str, within: tuple[str, ...], why: str) -> None:
    status, report, _err = told(host, *within, "mountwarden", "report", "--json")
    assert (status in (1, 2), report["complete"]) == (True, False)
    assert next(gap["reason"] for gap in report["gaps"] if gap["what"] == "the host").startswith(why)
    text = host.run(*within, "mountwarden", "report", "--unit", "systemd-journald", check=False)
    assert (text.returncode, "✓" in text.stdout) == (2, False)
    assert "could not tell what is wrong" in text.stdout
    for words in (("who", "/"), ("map",), *((("predict", "umount", "/"),) if within is POD else ())):
        assert told(host, *within, "mountwarden", *words, "--json")[1]["complete"] is False
    assert "the host is not seen" in host.run(*within, "mountwarden", "doctor", "--no-canary", check=False).stdout
    assert "could not read the host" in host.run(*within, "mountwarden", "plan", check=False).stderr
    for words in (("detach", leak), ("share",), ("pause",)):
        done = host.run(*within, "mountwarden", *words, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"{words[0]} would not reach the host" in done.stderr
    assert host.run("mountwarden", "report", check=False).returncode == 1


def test_what_needs_nothing_of_the_host_stays_where_it_is(host: Machine) -> None:
    for words in (("--version",), ("config", "check"), ("report", "--help"), ("demo",)):
        assert host.run(*BLIND[:4], "mountwarden", *words, check=False).returncode == 0, words
