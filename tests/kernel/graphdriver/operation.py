"""One call of the driver in a process of its own, at which strace makes one system call fail.

`python3 operation.py NAME` prepares, says so on stdout, waits for a line, and makes the call; what it
raised goes to stdout.
"""

import io
import os
import sys
from collections.abc import Callable

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../.."))

from mountwarden.graphdriver.idmap import IdMap
from mountwarden.graphdriver.overlay import OverlayDriver

from tests.kernel.graphdriver import tars

MAPS = (IdMap(0, 100_000, 65_536),)
LAYER = (
    tars.directory("d", mode=0o700), ("d/f", b"new"), ("big", b"x" * 70_000), tars.symlink("l", "d"),
    tars.hardlink("h", "d/f"), (".wh.g", b""), tars.entry("x", xattrs={"user.a": b"b"}),
)  # fmt: skip


def driver() -> OverlayDriver:
    return OverlayDriver.init("/mnt/home", (), MAPS, MAPS, load_module=False)


def prepare(d: OverlayDriver) -> None:
    d.create("base")
    d.apply_diff("base", "", tars.tar(tars.directory("d"), ("d/f", b"1"), ("g", b"2")))
    d.create("init", "base")
    path = os.fsdecode(d.get("init"))
    with open(f"{path}/written", "w") as file:
        file.write("by init")
    os.chown(f"{path}/written", 100_000, 100_000)
    d.put("init")


def operations(d: OverlayDriver) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Name -> (what comes before, the call)."""
    archive = tars.tar(*LAYER)

    def nothing() -> None:
        return

    def got() -> None:
        d.create("c", "init")
        d.get("c")

    return {
        "create": (nothing, lambda: d.create("c", "init")),
        "create-on-image": (nothing, lambda: d.create("c", "base")),
        "get": (lambda: d.create("c", "init"), lambda: d.get("c")),
        "put": (got, lambda: d.put("c")),
        "remove": (got, lambda: d.remove("c")),
        "apply": (lambda: d.create("n", "base"), lambda: d.apply_diff("n", "base", archive)),
        "diff": (nothing, lambda: d.diff("init", "base", io.BytesIO())),
    }


def main(name: str) -> None:
    d = driver()
    prepare(d)
    before, call = operations(d)[name]
    before()
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        call()
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
    else:
        print("done")


if __name__ == "__main__":
    main(sys.argv[1])
