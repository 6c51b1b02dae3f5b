"""A snapshot of a real host with real engines, judged by somebody who may not even look there."""

import json
from typing import Any

import pytest

from tests.support.incidents import docker, podman, running
from tests.support.machine import Machine

__all__ = ["docker"]

pytestmark = pytest.mark.long


def findings(told: str) -> list[dict[str, Any]]:
    return sorted(({**f, "since": None} for f in json.loads(told)["findings"]), key=lambda f: str(f["id"]))


def judged(told: str) -> list[str]:
    """What of the findings is no name."""
    kept = ("kind", "severity", "evidence", "count", "device")
    rows = [
        (
            [f[name] for name in kept],
            [(c["reach"], c["mount_id"]) for c in f["copies"]],
            f["cause"] and f["cause"]["code"],
        )
        for f in json.loads(told)["findings"]
    ]
    return sorted(map(str, rows))


def test_it_is_judged_as_the_host_was(docker: Machine) -> None:
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "mountwarden")
    with running(docker) as container, podman(docker, "-v", "/:/rootfs:ro,rprivate") as exporter:
        container.stop()
        live = docker.run("mountwarden", "report", "--json", "--all", check=False)
        for name, options in (("plain", ()), ("hidden", ("--anonymous",))):
            docker.run("mountwarden", "snapshot", *options, f"/srv/{name}")
            assert docker.run("stat", "-c", "%a", f"/srv/{name}").stdout == "600\n"
            docker.run("install", "-m", "644", f"/srv/{name}", f"/tmp/{name}")
        told = docker.run(*nobody, "report", "--from", "/tmp/plain", "--json", "--all", check=False)
        assert told.returncode == live.returncode == 1, told.stderr
        assert findings(told.stdout) == findings(live.stdout)
        leak = next(f for f in findings(live.stdout) if f["mountpoint"] == container.merged)
        story = docker.run(*nobody, "explain", "--from", "/tmp/plain", leak["id"], check=False)
        assert leak["cause"]["text"].split(" with ")[0] in " ".join(story.stdout.split())
        hidden = docker.run(*nobody, "report", "--from", "/tmp/hidden", "--json", "--all", check=False)
        assert judged(hidden.stdout) == judged(live.stdout)
        text = docker.read("/tmp/hidden")
        layer = container.merged.split("/")[-2]
        for name in (exporter, exporter[:12], container.id, layer, docker.run("hostname").stdout.strip()):
            assert name not in text
        again = docker.run("mountwarden", "snapshot", "/srv/plain", check=False)
        assert (again.returncode, "is there already" in again.stderr) == (2, True)
        docker.run("mountwarden", "detach", leak["id"])
        docker.run("rm", "/srv/plain", "/srv/hidden", "/tmp/plain", "/tmp/hidden")
