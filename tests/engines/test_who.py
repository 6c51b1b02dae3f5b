"""What is busy, by a container's name: of dockerd and podman, running and stopped."""

import json
from collections.abc import Iterator

import pytest

from tests.support.fixtures import booted
from tests.support.machine import Machine

pytestmark = pytest.mark.long


MOVED_STORE = """
[storage]
driver = "overlay"
graphroot = "/var/lib/containers/moved"
runroot = "/run/containers/storage"
"""


@pytest.fixture(scope="module", params=["at home", "moved"])
def host(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """With both engines, their data in the usual place or where their configuration says."""
    moved = request.param == "moved"
    with booted() as machine:
        if moved:
            machine.run("mkdir", "-p", "/var/lib/containers/moved", "/var/lib/docker/moved")
            machine.write("/etc/containers/storage.conf", MOVED_STORE)
        machine.start_docker(*(["--data-root=/var/lib/docker/moved"] if moved else []))
        for engine in ("docker", "podman"):
            machine.import_image(engine)
        yield machine


def asked(host: Machine, what: str) -> tuple[int, dict[str, object]]:
    done = host.run("mountwarden", "who", what, "--json", check=False)
    return done.returncode, json.loads(done.stdout or "{}")


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_a_container_by_its_name(host: Machine, engine: str) -> None:
    name = f"web-{engine}.1"
    identity = host.run(engine, "run", "-d", "--network=none", "--name", name, "bb", "sleep", "1000").stdout.strip()
    merged = host.run(engine, "inspect", "-f", "{{.GraphDriver.Data.MergedDir}}", identity).stdout.strip()
    code, by_name = asked(host, name)
    assert code == 1
    keepers = [k for k in by_name["keepers"] if k["how"] == "mount"]  # type: ignore[union-attr]
    assert merged in {k["where"] for k in keepers}, "home's mount of its layer"
    held = {h["container"] for k in by_name["keepers"] for h in k["holders"]}  # type: ignore[union-attr]
    assert identity in held, "and the container itself"
    assert asked(host, identity[:12])[1]["device"] == by_name["device"], "its id means the same"
    host.run(engine, "stop", "-t", "0", name)
    code, stopped = asked(host, name)
    assert code in (0, 1)
    assert str(stopped["path"]).endswith(merged.removesuffix("/merged").rpartition("/")[2]), "its layer's directory"
    host.run(engine, "rm", name)
    code, _ = asked(host, name)
    assert code == 2
