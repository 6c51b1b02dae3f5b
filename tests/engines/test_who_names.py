"""What is busy, by names that only the files of users and of containerd's tasks have."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.fixtures import booted
from tests.support.machine import Machine
from tests.support.packages import TODAY

CRI = "io.kubernetes.cri"


@pytest.fixture(scope="module")
def host() -> Iterator[Machine]:
    """With a user's podman, and containerd with the image."""
    with booted() as machine:
        machine.start_docker()
        machine.import_image("docker")
        machine.import_image("ctr")
        machine.start_rootless()
        yield machine


def asked(host: Machine, what: str) -> dict[str, Any]:
    done = host.run("mountwarden", "who", what, "--json", check=False)
    assert done.returncode in (0, 1), done.stderr
    return dict(json.loads(done.stdout))


def places(answer: dict[str, Any]) -> set[str]:
    return {keeper["where"] for keeper in answer["keepers"]}


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "--rm"])
def test_a_container_of_a_users_podman(host: Machine, kept: bool) -> None:
    """Its processes are in no control group of their own here: the store alone knows it."""
    name = "kept" if kept else "brief"
    options = [] if kept else ["--rm"]
    identity = host.rootless("run", "-d", "--name", name, *options, "bb", "sleep", "1000").stdout.strip()
    merged = host.rootless("inspect", "-f", "{{.GraphDriver.Data.MergedDir}}", identity).stdout.strip()
    by_name = asked(host, name)
    assert by_name["meant"] == f"container {name} (podman of user user, {identity[:12]})"
    assert by_name["path"].endswith(merged.removesuffix("/merged").rpartition("/")[2]), "its layer's directory"
    assert merged in places(by_name), "mounted in the namespace of the user's podman"
    for word in (identity, identity[:6]):
        assert asked(host, word)["path"] == by_name["path"], word
    if kept:
        host.rootless("stop", "-t", "0", name)
        assert asked(host, name)["path"] == by_name["path"], "it need not run"
    host.rootless("rm", "-f", "-t", "0", name)
    assert host.run("mountwarden", "who", name, check=False).returncode == 2


def ctr(host: Machine, identity: str, **annotations: str) -> None:
    words = [word for key, value in annotations.items() for word in ("--annotation", f"{key}={value}")]
    image = "docker.io/library/bb:latest"
    host.ctr("run", "-d", "--null-io", "--cpu-shares", "0", *words, image, identity, "sleep", "1000")


def test_containers_and_pods_of_containerd(host: Machine) -> None:
    """With the annotations that CRI and nerdctl make: ctr makes them of the same bundles."""
    pod, one, other, hello = (f"{number}0aa" * 16 for number in range(1, 5))
    of_pod = {f"{CRI}.container-type": "container", f"{CRI}.sandbox-name": "web-7"}
    ctr(host, "plain-task")
    ctr(host, pod, **{f"{CRI}.container-type": "sandbox", f"{CRI}.sandbox-name": "web-7"})
    ctr(host, one, **of_pod, **{f"{CRI}.container-name": "nginx"})
    ctr(host, other, **{**of_pod, f"{CRI}.sandbox-name": "web-8"}, **{f"{CRI}.container-name": "nginx"})
    ctr(host, hello, **{"nerdctl/name": "hello"})
    bundles = "/run/containerd/io.containerd.runtime.v2.task/default"

    meant = {"plain-task": "plain-task", "web-7": pod, "hello": hello, one: one, one[:5]: one, "plain": "plain-task"}
    for word, identity in meant.items():
        answer = asked(host, word)
        assert f"{bundles}/{identity}/rootfs" in places(answer), word
        assert sum(where.startswith(bundles) for where in places(answer)) == 1, word
    assert asked(host, one)["meant"] == f"container nginx of pod web-7 (containerd, CRI, {one[:12]})"
    assert asked(host, "web-7")["meant"] == f"pod web-7 (containerd, CRI, {pod[:12]})"

    refused = host.run("mountwarden", "who", "nginx", check=False)
    assert refused.returncode == 2
    assert f"nginx means 2: container nginx of pod web-7 (containerd, CRI, {one[:12]})" in refused.stderr
    assert "give an id" in refused.stderr
    for identity in ("plain-task", pod, one, other, hello):
        host.ctr("task", "kill", "-s", "KILL", identity)


def test_a_container_of_docker_with_containerds_image_store() -> None:
    """Docker 29's usual store, which 26 has too: the layer is containerd's, and mounted in the data-root."""
    with booted(TODAY) as machine:
        machine.write("/etc/docker/daemon.json", '{"features": {"containerd-snapshotter": true}}')
        machine.start_docker()
        machine.import_image("docker")
        identity = machine.docker("run", "-d", "--network=none", "--name", "web", "bb", "sleep", "1000").stdout.strip()
        answer = asked(machine, "web")
        machine.docker("kill", "web")
        stopped = machine.run("mountwarden", "who", "web", "--json", check=False)
    assert answer["meant"] == f"container web (Docker, {identity[:12]})"
    assert f"/var/lib/docker/rootfs/overlayfs/{identity}" in places(answer)
    assert stopped.returncode == 2
    assert f"container web (Docker, {identity[:12]}): it does not run" in stopped.stderr


def test_a_machine_by_its_whole_name(host: Machine) -> None:
    """No record has it, only its control group; the name of another may begin with its own."""
    scope = ("systemd-run", "--scope", "--quiet", "--unit=machine-web2.scope")
    machine = host.popen(*scope, "unshare", "--mount", "sh", "-c", "echo ready; exec sleep infinity")
    assert machine.stdout
    assert machine.stdout.readline() == b"ready\n"
    whole = asked(host, "web2")
    part = host.run("mountwarden", "who", "web", check=False)
    host.run("systemctl", "stop", "machine-web2.scope")
    machine.communicate()
    assert "web2" in {held["container"] for keeper in whole["keepers"] for held in keeper["holders"]}
    assert whole["meant"] is None
    assert part.returncode == 2
