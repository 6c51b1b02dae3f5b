"""Engines of users: what they mount for themselves is not judged, what their namespaces keep of the host's is.

Rootless podman and buildah of both suites. docs/engines.md says what is observed, and why not more.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.engines.test_nested import assert_quiet
from tests.support import tree
from tests.support.incidents import mountpoints
from tests.support.machine import Machine
from tests.support.packages import TODAY
from tests.support.product import install_product
from tests.support.wait import wait_until

pytestmark = pytest.mark.timeout(240)

COUNT = 6
SLEEP = ("bb", "sleep", "1000")
OWN = "/srv/own"
CONFIG = f"""
mode = "observe"
[[root]]
path = "{OWN}"
kind = "graph"
layout = ["*"]
fstype = "tmpfs"
"""
PRIVATE = ("unshare", "--mount", "--propagation", "private")


@pytest.fixture(scope="module", params=[tree.SUITE, pytest.param(TODAY, marks=pytest.mark.long)])
def host(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A host with a user's podman, the service running, and a root that tests mount on themselves."""
    if reason := tree.obstacle(request.param):
        pytest.skip(reason)
    with Machine(suite=request.param) as machine:
        install_product(machine)
        machine.run("mkdir", "-p", f"{OWN}/layer")
        machine.write("/etc/mountwarden/mountwarden.toml", CONFIG)
        machine.start_rootless()
        machine.run("systemctl", "start", "mountwarden")
        yield machine


def report(host: Machine) -> dict[str, Any]:
    return dict(json.loads(host.run("mountwarden", "report", "--json", "--all", check=False).stdout))


def run(host: Machine, *options: str) -> tuple[str, str]:
    """A container of the user's podman: its id, and where its layer is mounted in the user's namespace."""
    identity = host.rootless("run", "-d", *options, *SLEEP).stdout.strip()
    return identity, host.rootless("inspect", "-f", "{{.GraphDriver.Data.MergedDir}}", identity).stdout.strip()


def keeper(host: Machine) -> int:
    """A process in a mount namespace that the user made from that of podman, private; it ends with keeper.service."""
    as_user = ("User=user", "WorkingDirectory=/home/user", "Environment=XDG_RUNTIME_DIR=/run/user/1000")
    host.unit("keeper", *as_user, command=("podman", "unshare", *PRIVATE, "sleep", "2000"))
    found = wait_until(lambda: host.run("pgrep", "-fx", "sleep 2000", check=False).stdout.split(), 10, "it is there")
    return int(found[0])


def test_churn_of_a_users_engines_is_quiet(host: Machine) -> None:
    for number in range(COUNT):
        volume = f"volume{number}"
        host.rootless("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", volume)
        run(host, "-v", f"{volume}:/data")
    churn = f"seq {3 * COUNT} | xargs -P3 -I{{}} podman run --rm bb true"
    host.as_user("sh", "-ec", churn, timeout=120)
    name = host.as_user("buildah", "from", "--pull-never", "localhost/bb").stdout.strip()
    host.as_user("buildah", "unshare", "sh", "-ec", f"buildah mount {name}; buildah umount {name}")
    host.as_user("buildah", "commit", "--rm", name, "built")
    bystander = host.unit("bystander", "PrivateTmp=yes", "MountFlags=private")
    assert_quiet(host)
    host.rootless("rm", "-f", "-t", "0", "-a", timeout=120)
    host.run("systemctl", "stop", bystander)
    assert_quiet(host)


def test_a_copy_of_a_users_layer_is_not_told_and_goes_with_the_layer(host: Machine) -> None:
    """One that is left though podman has unmounted the layer, as where it is killed before it removes the directory."""
    identity, merged = run(host)
    pid = keeper(host)
    assert merged in mountpoints(host, pid), "made from podman's namespace, it has a copy of the layer"
    host.rootless("unshare", "umount", "-l", merged)
    assert merged in mountpoints(host, pid), "which the umount did not reach"
    assert merged not in mountpoints(host, 1)
    assert_quiet(host)
    who = host.run("mountwarden", "who", identity, "--json", check=False)
    assert f"podman of user user, {identity[:12]}" in json.loads(who.stdout)["meant"]
    holders = [one for keeper in json.loads(who.stdout)["keepers"] for one in keeper["holders"]]
    assert pid in {one["pid"] for one in holders}, "who is asked about it says who keeps it"
    host.rootless("rm", "-f", "-t", "0", identity)
    assert merged not in mountpoints(host, pid), "the removal of the directory took the copy along"
    assert host.run("test", "-e", merged, check=False).returncode == 1
    host.run("systemctl", "stop", "keeper.service")
    assert_quiet(host)


def test_what_a_users_container_keeps_of_the_host_is_told_with_the_user(host: Machine) -> None:
    host.run("mount", "-t", "tmpfs", "layer", f"{OWN}/layer")
    identity, _merged = run(host, "--cgroups=enabled", "-v", "/srv:/srv")
    pid = int(host.rootless("inspect", "-f", "{{.State.Pid}}", identity).stdout)
    wait_until(lambda: report(host)["findings"], 10, "the copy is seen, which an umount would not reach")
    host.run("umount", f"{OWN}/layer")
    assert f"{OWN}/layer" in mountpoints(host, pid)
    leaked = wait_until(lambda: [one for one in report(host)["findings"] if one["kind"] == "leaked"], 10, "it is told")
    name = f"container {identity[:12]} of user 1000"
    text = host.run("mountwarden", "report", check=False).stdout
    (message,) = [e["MESSAGE"] for e in host.journal("MOUNTWARDEN_EVENT=found") if f"{OWN}/layer" in e["MESSAGE"]]
    host.run("mountwarden", "detach", leaked[0]["id"])
    gone = f"{OWN}/layer" not in mountpoints(host, pid)
    host.rootless("rm", "-f", "-t", "0", identity)
    assert gone, "an operator ends it from home"
    assert [(one["severity"], one["evidence"]) for one in leaked] == [("warning", "history")]
    assert f"\n{name}\n" in text
    assert f"still mounted in {name}" in message


def test_nothing_that_a_user_runs_or_writes_is_a_root(host: Machine) -> None:
    """Processes called like engines, with options and files that name directories of the host."""
    before = report(host)
    names = ("dockerd", "containerd", "buildkitd", "podman", "conmon", "crio", "incusd", "kubelet", "rootlesskit")
    config = "/home/user/.config/containers/storage.conf"
    host.as_user("sh", "-ec", f"mv {config} {config}.own; mkfifo {config}; mkdir -p bin .config/docker")
    host.as_user("sh", "-ec", 'echo \'{"data-root": "/var"}\' > .config/docker/daemon.json')
    script = "#!/bin/sh\\nsleep 3000\\n:\\n"  # a process is called like its script
    host.as_user("sh", "-ec", f"for name in {' '.join(names)}; do printf '{script}' > bin/$name; done; chmod 755 bin/*")
    options = "--data-root=/var --root=/ --state=/run --exec-root=/run --config=/etc/passwd --namespaces-dir=/run"
    started = f"for i in $(seq {COUNT}); do for name in {' '.join(names)}; do bin/$name {options} & done; done; wait"
    unit = ("systemd-run", "--user", "--unit=fakes.service", "--working-directory=/home/user", "sh", "-c")
    host.as_user(*unit, started)
    try:
        wait_until(lambda: _count(host) == len(names) * COUNT, 20, "all of them run")
        told = json.loads(host.run("mountwarden", "doctor", "--json", check=False).stdout)["engines"]
        after = report(host)
    finally:
        host.as_user("systemctl", "--user", "stop", "fakes.service")
        host.as_user("mv", f"{config}.own", config)
    assert ("Docker", "user", 1000, []) in [(one["engine"], one["of"], one["user"], one["roots"]) for one in told]
    assert {one["of"] for one in told} == {"user"}
    assert after["roots"] == before["roots"]
    assert after["findings"] == []
    assert after["gaps"] == before["gaps"]


def _count(host: Machine) -> int:
    return len(host.run("pgrep", "-f", "^/bin/sh bin/.* --root=/", check=False).stdout.split())
