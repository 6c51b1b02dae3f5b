"""Who sends entries that look like ours to real journald: what of them `history` and `explain` take for ours."""

import json
from dataclasses import dataclass

import pytest

from tests.support.machine import Machine

FINDING = "mw-0123456789"
SEND = f"""
import socket, sys, time
lines = ["MESSAGE=" + sys.argv[1], "SYSLOG_IDENTIFIER=mountwarden", "MOUNTWARDEN_EVENT=acted", "MOUNTWARDEN_TEXT=done",
         "MOUNTWARDEN_ACTION=detach", "MOUNTWARDEN_FINDING={FINDING}", "UNIT=mountwarden.service", "_UID=0",
         "_SYSTEMD_UNIT=mountwarden.service", "_SYSTEMD_CGROUP=/system.slice/mountwarden.service", ""]
sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sender.connect("/run/systemd/journal/socket")
sender.send("\\n".join(lines).encode())
time.sleep(float(sys.argv[2]))
"""
"""Sends an entry, and stays until journald has looked at who it was."""
PYTHON = ("/usr/bin/python3", "/tmp/send.py")
BINDS = ("/run/systemd/journal", "/tmp/send.py", "/usr", "/lib", "/lib64")
ANY = ("--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined")


@dataclass
class Senders:
    """A host with journald, docker and podman, on which anybody sends."""

    host: Machine

    def send(self, *command: str, name: str, stay: float = 0.2, check: bool = True) -> None:
        """`command` runs the program that sends an entry whose message is `name`."""
        self.host.run(*command, *PYTHON, name, str(stay), check=check)

    def container(self, engine: str, *flags: str, name: str) -> None:
        """It runs in a container that has journald's directory mounted."""
        binds = [word for path in BINDS for word in ("--volume", f"{path}:{path}")]
        self.send(engine, "run", "--rm", "--network=none", *flags, *binds, "bb", name=name)

    def history(self) -> dict[str, str]:
        """Message of each entry that is shown, with the whole line."""
        lines = self.host.run("mountwarden", "history", "--acts", FINDING).stdout.splitlines()
        entries = json.loads(self.host.run("mountwarden", "history", "--acts", "--json", FINDING).stdout)["history"]
        assert len(lines) == len(entries)
        return dict(zip((entry["message"] for entry in entries), lines, strict=True))


@pytest.fixture(scope="module")
def senders(docker_host: Machine) -> Senders:
    docker_host.import_image("podman")
    docker_host.write("/tmp/send.py", SEND)
    return Senders(docker_host)


def test_only_a_command_of_root_s_on_the_host_is_shown_and_with_who_ran_it(senders: Senders) -> None:
    session = ("sh", "-c", 'echo 1000 >/proc/self/loginuid; exec "$@"', "sh")
    senders.send(*session, name="login")
    senders.send("systemd-run", "--quiet", "--wait", "--unit=nightly", name="unit")
    senders.send("systemd-run", "--quiet", "--scope", name="scope")
    senders.send("setpriv", "--reuid=1000", "--clear-groups", name="user")
    senders.host.run("systemctl", "start", "user@1000.service")
    machine = ("systemd-run", "--quiet", "--wait", "--user", "--machine=user@.host")
    senders.send(*machine, name="user's unit", check=False)
    for engine in ("docker", "podman"):
        senders.container(engine, name=engine)
        senders.container(engine, "--cap-add=SYS_ADMIN", *ANY, "--pid=host", name=f"{engine} with capabilities")
    senders.container("podman", "--privileged", name="privileged")
    senders.container("podman", "--cgroups=disabled", "--runtime=crun", name="in no group of its own")
    sent = {entry["MESSAGE"]: entry for entry in senders.host.journal(f"MOUNTWARDEN_FINDING={FINDING}")}
    assert set(sent) >= {"login", "user", "user's unit", "docker", "podman with capabilities", "privileged"}, (
        "all arrived"
    )
    shown = senders.history()
    assert set(shown) == {"login", "unit", "scope"}
    # In a container, as which a test host counts, journald tells no login since systemd 258.
    by = "user (uid 1000)" if "_AUDIT_LOGINUID" in sent["login"] else "root (uid 0)"
    told = shown["login"].rpartition(", pid")[0]
    assert told.endswith(f"login, by {by} with python3 /tmp/send.py login 0.2, in session-1.scope")
    assert ", in nightly.service, pid" in shown["unit"]
    story = senders.host.run("mountwarden", "explain", FINDING).stdout
    assert "docker" not in story
    assert "with capabilities" not in story
