"""File trees as real engines write them, and daemons that seem to run."""

import json
import os
from pathlib import Path

from mountwarden.config.schema import Config
from mountwarden.engines.sources import Host
from mountwarden.model import Base, Layout, Match, Mount, Root, Spot
from mountwarden.observe.processes import Daemon

CONFIG = Config()


def daemon(comm: str, *argv: str | Path, pid: int = 0x7FFFFFF0) -> Daemon:
    """A daemon in our own namespace, with a pid that no process has."""
    return Daemon(pid, comm, (comm.encode(), *(str(word).encode() for word in argv)), 1, own=True)


def host(*daemons: Daemon) -> Host:
    return Host(daemons)


def of_layout(found: list[Root], layout: tuple[Layout, ...]) -> list[Root]:
    """The roots that have this layout: an engine has several in one place."""
    return [root for root in found if root.layout == layout]


def paths(found: list[Root]) -> list[Path]:
    return [Path(os.fsdecode(root.path)) for root in found]


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def match(root: Root, rel: bytes) -> Match:
    """A spot of the root, as far as engines look at it."""
    mount = Mount(1, 1, "0:1", b"/", b"/", b"", 0, 0, 0, False, "tmpfs", b"", b"")
    spot = Spot("0:1", root.path + b"/" + rel)
    return Match(root, Base(mount, spot, b""), Layout(rel, None), rel, rel, spot.path, spot)


# Captured from Docker 20.10.24: ids shortened to 12 digits, keys of config.v2.json that nobody reads left out.
STATE = {
    "Running": False,
    "Paused": False,
    "Restarting": False,
    "OOMKilled": False,
    "RemovalInProgress": False,
    "Dead": False,
    "Pid": 0,
    "ExitCode": 0,
    "Error": "",
    "StartedAt": "0001-01-01T00:00:00Z",
    "FinishedAt": "0001-01-01T00:00:00Z",
    "Health": None,
}


def docker_container(data_root: Path, container: str, layer: str, **state: object) -> None:
    """A container of dockerd, not running unless `state` says so."""
    mounts = data_root / "image/overlay2/layerdb/mounts" / container
    write(mounts / "init-id", f"{layer}-init")
    write(mounts / "mount-id", layer)
    write(mounts / "parent", "sha256:9b225e47e7b6")
    config = {"State": {**STATE, **state}, "ID": container, "Driver": "overlay2", "Name": "/d1"}
    write(data_root / "containers" / container / "config.v2.json", json.dumps(config))


def docker_image(data_root: Path, chain: str, layer: str) -> None:
    """An image's layer."""
    write(data_root / "image/overlay2/layerdb/sha256" / chain / "cache-id", layer)


# Captured from podman 4.3.1.
MOUNTED = '[{"id":"4fd6f0294cf7","path":"/var/lib/containers/storage/overlay/4fd6f0294cf7/merged","count":1}]'
LAYERS = (
    '[{"id":"9b225e47e7b6","created":"2026-11-24T05:38:43.117011811Z","compressed-diff-digest":"sha256:9b225e47e7b6",'
    '"compressed-size":2129920,"diff-digest":"sha256:9b225e47e7b6","diff-size":2129920,"uidset":[0],"gidset":[0]},'
    '{"id":"62afa055634d","names":["p1-layer"],"parent":"9b225e47e7b6","created":"2026-11-24T05:38:43.733345625Z"},'
    '{"id":"4fd6f0294cf7","names":["p3-layer"],"parent":"9b225e47e7b6","created":"2026-11-24T05:38:43.988846797Z"}]'
)
