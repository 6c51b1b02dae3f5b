"""On a test host: kills at given moments, what is truly abandoned, and who is accused.

dead_inside.py strike STRIKES     kill, as a JSON list of Strike says; prints how many of which name were killed
dead_inside.py truth              prints the truth of each mount that an engine has at home, as engines list it now
dead_inside.py watch FILE         ask the service for a report again and again; a line for each that accuses
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

SERVICE = "/run/mountwarden/io.mountwarden"
PAUSE = 0.3
"""Seconds between two looks of the watch."""
ENTERS = 1.0
"""Seconds from a container's first process to its root being that process's."""
CONFIRM = 1.0
"""The confirm time of what is abandoned, in seconds."""
_Mounts = dict[str, tuple[int, str]]
_TASK = re.compile(r"/run/containerd/io\.containerd\.runtime\.v2\.task/([^/]+)/([^/]+)/rootfs")
_LAYER = re.compile(r"/var/lib/docker/overlay2/([^/]+)/merged")
_SHM = re.compile(r"/var/lib/docker/containers/([^/]+)/mounts/shm")
_EXECUTOR = re.compile(r"/var/lib/docker/buildkit/executor/([^/]+)/rootfs")
_TEMPORARY = re.compile(r"/var/lib/containerd/tmpmounts/(.+)")
_PODMAN = re.compile(r"/var/lib/containers/storage/overlay/([^/]+)/merged")
_KINDS = {
    "task": _TASK,
    "layer": _LAYER,
    "shm": _SHM,
    "executor": _EXECUTOR,
    "tmpmount": _TEMPORARY,
    "container": _PODMAN,
}


def pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) not in (1, os.getpid())]


def cmdline(pid: int) -> str:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read().replace(b"\0", b" ").decode(errors="replace")


def comm(pid: int) -> str:
    with open(f"/proc/{pid}/comm") as file:
        return file.read().strip()


def root_device(pid: int) -> str:
    device = os.stat(f"/proc/{pid}/root").st_dev
    return f"{os.major(device)}:{os.minor(device)}"


def mounts() -> _Mounts:
    """Of PID 1: id and device of what is on top, by its mountpoint."""
    with open("/proc/1/mountinfo") as file:
        fields = [line.split(" ") for line in file]
    return {one[4]: (int(one[0]), one[2]) for one in fields}


# strike


def strike(strikes: list[dict[str, Any]]) -> Counter[str]:
    """Each after its delay in seconds; `point` is a mountpoint on which processes have their root."""
    killed: Counter[str] = Counter()
    for one in strikes:
        time.sleep(one["delay"])
        for pid in pids():
            with contextlib.suppress(OSError):
                if _is_meant(pid, one):
                    name = comm(pid)
                    os.kill(pid, signal.SIGKILL)
                    killed[one.get("called") or name] += 1
    return killed


def _is_meant(pid: int, one: dict[str, Any]) -> bool:
    if "comm" in one:
        return comm(pid) == one["comm"]
    if "cmdline" in one:
        return re.search(one["cmdline"], cmdline(pid)) is not None
    place = mounts().get(one["point"])
    return place is not None and root_device(pid) == place[1]


# truth


def living() -> tuple[frozenset[str], list[str]]:
    """Devices that processes have as their roots, and all command lines."""
    roots, lines = set[str](), list[str]()
    for pid in pids():
        with contextlib.suppress(OSError):
            lines.append(cmdline(pid))
            roots.add(root_device(pid))
    return frozenset(roots), lines


def _said(*argv: str) -> list[str]:
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=30).stdout.split()


def engines_list() -> dict[str, Any]:
    """What containerd and dockerd list as theirs now."""
    namespaces = _said("ctr", "namespaces", "ls", "-q")
    tasks = {name: _said("ctr", "-n", name, "tasks", "ls", "-q") for name in namespaces}
    containers = _said("docker", "ps", "-aq", "--no-trunc")
    inspect = ["docker", "inspect", "-f", "{{.GraphDriver.Data.MergedDir}}", *containers]
    # Any of them may be removed meanwhile: then the others are listed all the same.
    merged = subprocess.run(inspect, capture_output=True, text=True, check=False, timeout=30).stdout.split()
    return {"tasks": tasks, "containers": containers, "merged": merged}


def truth() -> dict[str, Any]:
    """For each mount of an engine: its id, its kind, and `lived`, `listed` or `left`, with why that can't be proved."""
    before = mounts()
    listed, (roots, lines) = engines_list(), living()
    after = mounts()
    found = {}
    for point, (number, device) in after.items():
        match = next(((kind, names) for kind, form in _KINDS.items() if (names := form.fullmatch(point))), None)
        if match is None or before.get(point) != (number, device):
            continue
        kind, names = match
        if device in roots:
            state = "lived"
        elif _is_listed(point, kind, names, listed, lines):
            state = "listed"
        else:
            state = "left"
        found[point] = {"id": number, "kind": kind, "state": state, "why": ""}
        if state == "left":
            found[point]["why"] = _why(point, kind, names)
    return found


def _is_listed(point: str, kind: str, names: re.Match[str], listed: dict[str, Any], lines: list[str]) -> bool:
    if kind == "task":
        shim = re.compile(rf"containerd-shim-runc-v2 .*-namespace {names[1]} -id {re.escape(names[2])} ")
        return names[2] in listed["tasks"].get(names[1], []) or any(shim.search(line) for line in lines)
    if kind == "layer":
        return point in listed["merged"]
    if kind == "shm":
        return names[1] in listed["containers"]
    if kind == "container":
        layer = _podman_container(names[1])
        return any(re.search(rf"conmon .*-c {layer} ", line) for line in lines) if layer else False
    return False


def _podman_container(layer: str) -> str:
    """The container whose layer that is, by podman's own list of containers."""
    with open("/var/lib/containers/storage/overlay-containers/containers.json") as file:
        known = json.load(file)
    return next((str(one["id"]) for one in known if one["layer"] == layer), "")


def _why(point: str, kind: str, names: re.Match[str]) -> str:
    """Why nobody could prove that this is left, by files of the engine's; empty where it must be told."""
    bundle = os.path.dirname(point)
    if kind == "task":
        without = [name for name in ("init.pid",) if not _size(f"{bundle}/{name}")]
        if not any(_size(f"{bundle}/{name}") for name in ("address", "bootstrap.json")):
            without.append("address")
        return f"task without {' and '.join(without)}" if without else ""
    if kind == "layer":
        return _why_layer(names[1])
    if kind == "shm":
        here = os.path.exists(f"/var/lib/docker/containers/{names[1]}/config.v2.json")
        return "shm of a container whose file is there" if here else ""
    if kind == "executor":
        made = os.stat(bundle).st_mtime
        return "build step made within 3 s of dockerd's start" if made > _started("dockerd") - 3 else ""
    if kind == "container":
        return _why_podman(names[1])
    return ""


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _started(name: str) -> float:
    """Seconds since the Epoch."""
    for pid in pids():
        with contextlib.suppress(OSError):
            if comm(pid) == name:
                return _began(pid)
    return 0.0


def _why_layer(layer: str) -> str:
    with contextlib.suppress(OSError), open("/var/lib/docker/buildkit/snapshots.db", "rb") as file:
        if layer.encode() in file.read():
            return "layer in BuildKit's database"
    layerdb = "/var/lib/docker/image/overlay2/layerdb"
    if os.listdir(f"{layerdb}/tmp"):
        return "layer while dockerd has an unfinished image"
    done = subprocess.run(["grep", "-rqF", layer, f"{layerdb}/mounts", f"{layerdb}/sha256"], check=False)
    return "layer in dockerd's own database" if done.returncode == 0 else ""


def _why_podman(layer: str) -> str:
    import sqlite3

    path = "/var/lib/containers/storage/db.sql"
    if not os.path.exists(path):
        return "container of a podman without SQLite"
    container = _podman_container(layer)
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as database:
        rows = database.execute("SELECT JSON FROM ContainerState WHERE ID = ?", (container,)).fetchall()
    if not rows:
        return "container that podman does not know"
    state = json.loads(rows[0][0])
    if state.get("state") not in (3, 5):
        return f"container that podman does not believe to run (state {state.get('state')})"
    if any(os.path.lexists(path + end) for end in ("-journal", "-wal")):
        return "container while podman's database is not whole"
    with open("/run/containers/storage/overlay-layers/mountpoints.json") as file:
        count = next((one["count"] for one in json.load(file) if one["id"] == layer), 0)
    if not all(state.get(key) for key in ("pid", "conmonPid")):
        return "container whose pid and monitor podman does not know"
    return "" if count == 1 else f"container that podman has mounted {count} times"


def about(point: str) -> dict[str, Any]:
    """What may tell why a mount was not told: processes that name a part of its path or its container, its files."""
    names = [word for word in point.split("/") if len(word) > 3]
    if match := _PODMAN.fullmatch(point):
        names.append(_podman_container(match[1])[:4])
    bundle = os.path.dirname(point)
    files = {name: _text(f"{bundle}/{name}") for name in ("init.pid", "address", "bootstrap.json")}
    about = [f"{cmdline(pid)} in {_text(f'/proc/{pid}/cgroup')}" for pid in pids() if _alive(pid)]
    named = [line for line in about if any(name and name in line for name in names[-3:])]
    return {"named by": named, "files": files, "podman": _state_of_podman(match[1]) if match else None}


def _alive(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}/cgroup")


def _state_of_podman(layer: str) -> str:
    import sqlite3

    path = "file:/var/lib/containers/storage/db.sql?mode=ro&immutable=1"
    with contextlib.closing(sqlite3.connect(path, uri=True)) as database:
        query = "SELECT JSON FROM ContainerState WHERE ID = ?"
        return str(database.execute(query, (_podman_container(layer),)).fetchall())


def _text(path: str) -> str:
    try:
        with open(path) as file:
            return f"{file.read()} of {os.fstat(file.fileno()).st_mtime}"
    except OSError as error:
        return str(error)


# watch


def watch(path: str) -> None:
    """Until killed: a line for each look that accuses anybody, and the number of looks in another file.

    A look is a scan of the product's in this process, which no budget puts off; and what the service found last.
    """
    from mountwarden.config.schema import Config, Confirm
    from mountwarden.scan.scanner import Scanner

    scanner, looks = Scanner(Config(confirm=Confirm(abandoned=CONFIRM))), 0
    with open(path, "a") as file:
        while True:
            before, had = living()[0], mounts()
            scan = scanner.scan(resync=True)
            accusers = [
                (os.fsdecode(one.mountpoint), {"by": "look", "at": scan.started, "confirmed": None})
                for one in scan.findings
                if one.kind == "abandoned"
            ]
            accusers += _accused_by_service()
            after, has = living()[0], mounts()
            said: dict[str, Any] = {}
            for point, accuser in accusers:
                one = said.setdefault(point, {**_said_of(point, had, has, before & after), "accusers": []})
                one["accusers"].append(accuser)
                one["lived"] |= one["since"] is not None and accuser["at"] > one["since"] + ENTERS
            if said:
                print(json.dumps({"at": time.time(), "accused": said}), file=file, flush=True)
            looks += 1
            with open(f"{path}.looks", "w") as count:
                count.write(str(looks))
            time.sleep(PAUSE)


def _said_of(point: str, had: _Mounts, has: _Mounts, lived: frozenset[str]) -> dict[str, Any]:
    """The mount's id, None where it is another one by now; and since when somebody lived in it before and after, who.

    The service's last scan may be of a moment before that.
    """
    mount = has.get(point)
    if mount is None or had.get(point) != mount:
        return {"id": None, "since": None, "lived": False}
    began = _live_in(mount[1]) if mount[1] in lived else {}
    return {"id": mount[0], "since": min(began.values(), default=None), "lived": False, "who": began}


def _live_in(device: str) -> dict[str, float]:
    """Processes with their root there: when each began, by what it and its parent are."""
    found = dict[str, float]()
    for pid in pids():
        with contextlib.suppress(OSError):
            if root_device(pid) == device:
                parent = int(_stat(pid)[1])
                found[f"{pid} {cmdline(pid)}, of {parent} {cmdline(parent)}"] = _began(pid)
    return found


def _stat(pid: int) -> list[str]:
    """The fields from the third on."""
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()


def _began(pid: int) -> float:
    """Seconds since the Epoch."""
    ticks = int(_stat(pid)[19]) / os.sysconf("SC_CLK_TCK")
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks


def _accused_by_service() -> list[tuple[str, dict[str, Any]]]:
    """Mountpoints that the service, by its last scan, says to be abandoned."""
    from mountwarden.escape import seconds

    with contextlib.suppress(OSError, ValueError), socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(20)
        peer.connect(SERVICE)
        peer.sendall(b'{"method": "io.mountwarden.Report", "parameters": {}}\0')
        report = json.loads(b"".join(_parts(peer)))["parameters"].get("report", {})
        accuser = {"by": "service", "at": seconds(report["taken"]) if report else 0.0}
        return [
            (one["mountpoint"], {**accuser, "confirmed": one["confirmed"]})
            for one in report.get("findings", [])
            if one["kind"] == "abandoned"
        ]
    return []


def _parts(peer: socket.socket) -> Iterator[bytes]:
    while part := peer.recv(1 << 18):
        end = part.endswith(b"\0")
        yield part.rstrip(b"\0")
        if end:
            return


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["strike", text]:
            print(json.dumps(strike(json.loads(text))))
        case ["about", point]:
            print(json.dumps(about(point)))
        case ["truth"]:
            print(json.dumps(truth()))
        case ["watch", place]:
            watch(place)
