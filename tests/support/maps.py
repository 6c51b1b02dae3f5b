"""Documents of `mountwarden map`, made by hand: of any size, healthy or not, and with hostile names."""

from collections.abc import Callable
from typing import Any

from mountwarden.escape import printable
from mountwarden.report.map_types import SCHEMA, BaseJson, MapJson, RowJson

HOSTILE = (
    "<script>hacked=1</script>\"&'\n\x1b[31m",
    "]]></svg><svg onload=hacked=1>",
    "層の名前が長い" * 8,
    '"; } digraph evil { "\\',
    "שלום עולם",
)


def row(number: int, **changes: Any) -> RowJson:
    """A healthy service: a slave with two copies; keyword arguments replace fields."""
    values: dict[str, Any] = {
        "namespace": 4026532000 + number,
        "kind": "service",
        "who": f"worker-{number}.service",
        "relation": "slave",
        "at": "/var/lib/docker",
        "peer_group": 900 + number,
        "master": 1,
        "copies": 2,
        "leaks": 0,
        "on_purpose": 0,
        "leaked": 0,
        "unconfirmed": 0,
        "findings": [],
    }
    return RowJson(**{**values, **changes})


def base(*rows: RowJson, at: str = "/", **changes: Any) -> BaseJson:
    """Home's "/" with Docker's roots on it."""
    roots = [("/var/lib/docker", "docker", "graph", 12), ("/var/lib/docker/volumes", "docker", "volume", 3)]
    values: dict[str, Any] = {
        "home": 4026531841,
        "mount_id": 25,
        "at": at,
        "device": "254:1",
        "fstype": "ext4",
        "propagation": "shared",
        "peer_group": 1,
        "roots": [
            {"path": path, "engine": engine, "kind": kind, "live": live, "wants_private": False, "status": "ok"}
            for path, engine, kind, live in roots
        ],
        "namespaces": list(rows),
    }
    return BaseJson(**{**values, **changes})


def run_base(*rows: RowJson) -> BaseJson:
    """Home's /run, with the network namespaces of Docker."""
    root: Any = {"path": "/run/docker/netns", "engine": "docker", "kind": "netns", "live": 12, "wants_private": False}
    return base(*rows, at="/run", fstype="tmpfs", device="0:23", peer_group=5, roots=[{**root, "status": "ok"}])


def podman_base(*rows: RowJson) -> BaseJson:
    """The private home of podman's storage."""
    root: Any = {
        "path": "/var/lib/containers/storage",
        "engine": "containers-storage",
        "kind": "graph",
        "live": 4,
        "wants_private": True,
        "status": "ok",
    }
    at = "/var/lib/containers/storage/overlay"
    return base(*rows, at=at, peer_group=None, propagation="private", roots=[root])


def chart(*bases: BaseJson, namespaces: int = 0, **changes: Any) -> MapJson:
    """The document of these bases, its summary counted."""
    rows = [one for some in bases for one in some["namespaces"]]
    seen = {one["namespace"] for one in rows}
    values: dict[str, Any] = {
        "schema": SCHEMA,
        "version": "0.1.0",
        "taken": "2026-09-21T13:33:20Z",
        "host": {"hostname": "vm1", "kernel": "6.18.0", "boot_id": "c0ffee00-0000-4000-8000-000000000000"},
        "complete": True,
        "summary": {
            "roots": sum(len(some["roots"]) for some in bases),
            "namespaces": max(namespaces, len(seen) + 1),
            "mounts": 52655,
            "without": max(0, namespaces - len(seen) - 1),
            "cut_off": len({one["namespace"] for one in rows if one["relation"] == "cut-off"}),
            "leaks": sum(one["leaks"] for one in rows),
            "leaked": sum(one["leaked"] for one in rows),
            "unconfirmed": sum(one["unconfirmed"] for one in rows),
        },
        "bases": list(bases),
        "unjudged": [],
        "gaps": [],
    }
    return MapJson(**{**values, **changes})


def cut(number: int, who: str, **changes: Any) -> RowJson:
    """A namespace that is cut off."""
    return row(number, who=who, relation="cut-off", peer_group=None, master=None, **changes)


def healthy() -> MapJson:
    """Nothing wrong."""
    return chart(base(*(row(n) for n in range(3))), run_base(row(0), row(1, relation="peer")), namespaces=9)


def small() -> MapJson:
    """Five namespaces: one that leaked, one that will, one that holds nothing, two healthy ones."""
    leaky = {"leaked": 1, "leaks": 2, "copies": 2, "findings": ["mw-0123456789"]}
    container = {"kind": "container", "leaks": 3, "copies": 3, "at": "/host/var/lib/docker"}
    rows = [
        cut(1, "php-fpm.service", **leaky),
        cut(2, "container 0123456789ab", **container),
        cut(3, "old.service", copies=0),
        row(4),
        row(5, who="systemd-udevd.service", relation="peer", copies=12),
    ]
    return chart(base(*rows), run_base(rows[0], row(4)), namespaces=12)


def large(many: int) -> MapJson:
    """A host with so many namespaces: most are healthy, every tenth is cut off, every twentieth has leaked."""
    rows: list[RowJson] = []
    for number in range(many):
        container = number % 3 == 0
        who = {"who": f"container {number:012x}", "kind": "container"} if container else {}
        if number % 20 == 0:
            rows.append(row(number, **who, relation="cut-off", leaked=number // 20 + 1, leaks=2))
        elif number % 10 == 0:
            rows.append(row(number, **who, relation="cut-off", leaks=number % 7, copies=number % 7))
        else:
            rows.append(row(number, **who))
    rows.sort(key=lambda one: (-one["leaked"], -one["leaks"], one["relation"]))
    private = [cut(1000 + n, f"bystander-{n}.service", on_purpose=4, copies=4) for n in range(many // 4)]
    return chart(base(*rows), run_base(*rows[: many // 2]), podman_base(*private), namespaces=many + 30)


def hostile() -> MapJson:
    """Names that attack a terminal, a browser and Graphviz, escaped as the picture's builder does it."""
    rows = [
        cut(n, f"process {n} ({printable(name)})", kind="process", leaked=n, copies=0) for n, name in enumerate(HOSTILE)
    ]
    roots: Any = [
        {"path": printable(b"/srv/\xff" + HOSTILE[0].encode()), "engine": "custom", "kind": "custom", "live": 1}
        | {"wants_private": False, "status": "ok"}
    ]
    gaps: Any = [{"what": "<b>&", "namespace": None, "reason": '"EACCES"', "count": 2, "owner": None}]
    return chart(base(*rows, at=printable(HOSTILE[1]), roots=roots), gaps=gaps, complete=False)


CHARTS: dict[str, Callable[[], MapJson]] = {
    "healthy": healthy,
    "5": small,
    "50": lambda: large(50),
    "200": lambda: large(200),
    "hostile": hostile,
}
"""What pictures are drawn of in tests, by name."""
