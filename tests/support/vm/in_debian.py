"""What a Debian that was booted whole is asked: its unit asked.service runs this with the guest's own Python.

At the first boot a layer leaks, another one leaks that can't be ended, the newer package is installed, and the guest
reboots under that finding. At the second one it says what came of all that, and powers off. What each has seen goes to
the second serial line, as one JSON document.
"""

import json
import os
import subprocess
import sys
import time
import tty
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHANNEL = "/dev/ttyS1"
UNIT = "mountwarden.service"
DOCKER = "docker.service"
PYTHON = "five-pythons.service"
"""Runs `python3 -c pass` five times at each boot."""
ARCHIVE = "/usr/share/test-host/bb.tar"
NEWER = "/root/newer.deb"
LAYERS = "/var/lib/docker/overlay2"
SHORT, BUSY = f"{LAYERS}/{'5' * 64}/merged", f"{LAYERS}/{'b' * 64}/merged"
_REPORT = "/run/mountwarden/report.json"
_KEPT = Path("/var/lib/asked.json")
_PATIENCE = 180.0
_KEYS = (
    "ActiveState",
    "NRestarts",
    *(f"{change}TimestampMonotonic" for change in ("InactiveExit", "ActiveEnter", "InactiveEnter")),
)
_STOPPING, _STOPPED = "de5b426a63be47a7b6ac3eaac82e2f6f", "9d1aaa27d60140bd96365438aad20286"
"""systemd's message ids of units, see its catalog."""


def run(*command: str) -> str:
    """What it printed, whatever its exit status."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
    if done.stderr:
        print(*command[:4], "->", done.returncode, done.stderr, file=sys.stderr, flush=True)
    return done.stdout.strip()


def seconds(*command: str) -> float:
    """How long it ran."""
    started = time.monotonic()
    run(*command)
    return time.monotonic() - started


def until(question: Callable[[], Any]) -> Any:
    """Its first answer that is true, else the last one in time."""
    ends = time.monotonic() + _PATIENCE
    while not (answer := question()) and time.monotonic() < ends:
        time.sleep(0.2)
    return answer


def logged(event: str, mountpoint: str) -> bool:
    """Wait until the service has logged that of the mountpoint; False where it does not."""
    ends = time.monotonic() + _PATIENCE
    while not (there := event in [one["MOUNTWARDEN_EVENT"] for one in events(mountpoint)]) and time.monotonic() < ends:
        time.sleep(2)
    return there


def show(unit: str) -> dict[str, str]:
    """All properties that systemd has of it."""
    return dict(line.split("=", 1) for line in run("systemctl", "show", unit).splitlines() if "=" in line)


def failed() -> str:
    """A line for each failed unit."""
    return run("systemctl", "--failed", "--plain", "--no-legend")


def entries(*matches: str) -> list[dict[str, Any]]:
    """Of the journal."""
    return [json.loads(line) for line in run("journalctl", "-q", "-o", "json", *matches).splitlines()]


def events(mountpoint: str) -> list[dict[str, Any]]:
    """What the service has logged of one mountpoint in this boot: (event, finding, outcome…) each."""
    found = entries("-b", "SYSLOG_IDENTIFIER=mountwarden", f"MOUNTWARDEN_MOUNTPOINT={mountpoint}")
    return [{key: value for key, value in one.items() if not key.startswith("_")} for one in found]


def booted() -> dict[str, Any]:
    """How the boot went."""
    told: dict[str, Any] = {"state": run("systemctl", "is-system-running", "--wait")}
    told["failed"] = failed()
    told["enabled"] = run("systemctl", "is-enabled", UNIT)
    shown = {name: show(name) for name in (UNIT, DOCKER, PYTHON)}
    told["after"] = shown[DOCKER]["After"].split()
    told["units"] = {name: {key: one[key] for key in _KEYS if key in one} for name, one in shown.items()}
    told["python"] = [seconds("python3", "-c", "pass") for _time in range(5)]
    told["memory"] = shown[UNIT].get("MemoryCurrent")
    told["analyze"] = [run("systemd-analyze"), run("systemd-analyze", "critical-chain", DOCKER)]
    told["kernel"], told["systemd"] = os.uname().release, run("systemctl", "--version").split("\n")[0]
    return told


# The leaks


def mount(merged: str) -> None:
    """An overlay of Docker's image's layer, as dockerd would mount it; it knows nothing of it."""
    lower = next(path for path in Path(LAYERS).glob("*/diff") if (path / "bin/busybox").exists())
    layer = Path(merged).parent
    for name in ("diff", "work", "merged"):
        (layer / name).mkdir(parents=True, exist_ok=True)
    options = f"lowerdir={lower},upperdir={layer}/diff,workdir={layer}/work"
    run("mount", "-t", "overlay", "overlay", "-o", options, merged)


def leaky(unit: str) -> str:
    """Start a service in a private mount namespace; its main process's mountinfo."""
    private = ("-p", "PrivateTmp=yes", "-p", "MountFlags=private")
    run("systemd-run", "--quiet", f"--unit={unit}", *private, "sleep", "10000")
    return f"/proc/{show(unit)['MainPID']}/mountinfo"


def has(mountinfo: str, merged: str) -> bool:
    return f" {merged} " in Path(mountinfo).read_text()


def short_lived() -> dict[str, Any]:
    """A layer of a second, which a service keeps."""
    mount(SHORT)
    born = time.monotonic()
    holder = leaky("leaky-short.service")
    time.sleep(max(0.0, born + 1 - time.monotonic()))
    run("umount", SHORT)
    unmounted = time.monotonic()
    told: dict[str, Any] = {"lived": unmounted - born, "leaked": has(holder, SHORT)}
    until(lambda: not has(holder, SHORT))
    told |= {"ended after": time.monotonic() - unmounted, "copy": has(holder, SHORT)}
    logged("acted", SHORT)
    return told | {"events": events(SHORT), "state": show("leaky-short.service")["ActiveState"]}


def published(mountpoint: str) -> dict[str, Any] | None:
    """The finding in the service's report, with the service's version."""
    report = json.loads(Path(_REPORT).read_text())
    found = [one for one in report["findings"] if one["mountpoint"] == mountpoint and one["confirmed"]]
    return {"version": report["version"], **found[0]} if found else None


def unending() -> dict[str, Any]:
    """A leak that no detach ends, since a file lies on the mountpoint."""
    Path(BUSY).mkdir(parents=True)
    Path(BUSY, "file").touch()
    mount(BUSY)
    holder = leaky("leaky-busy.service")
    time.sleep(3)
    run("umount", BUSY)
    logged("failed", BUSY)
    return {"copy": has(holder, BUSY), "finding": published(BUSY), "events": events(BUSY)}


def upgraded() -> dict[str, Any]:
    """The newer package, installed under that finding."""
    before = show(UNIT)["MainPID"]
    told: dict[str, Any] = {"seconds": seconds("dpkg", "-i", NEWER), "version": run("mountwarden", "--version")}
    told["restarted"] = before != show(UNIT)["MainPID"]
    told["finding"] = until(lambda: (one := published(BUSY)) and one["version"] in told["version"] and one)
    return told | {"state": show(UNIT)["ActiveState"], "failed": failed(), "events": events(BUSY)}


def container() -> dict[str, Any]:
    """A container of Docker's own, beside the service."""
    run("docker", "import", ARCHIVE, "bb")
    said = run("docker", "run", "--rm", "--network=none", "bb", "sh", "-c", "echo runs; sleep 1")
    return {"said": said, "findings": json.loads(Path(_REPORT).read_text())["findings"]}


# The end of the first boot, as the second one's journal has it


def when(entry: dict[str, Any]) -> float:
    """Seconds since the epoch."""
    return int(entry.get("_SOURCE_REALTIME_TIMESTAMP", entry["__REALTIME_TIMESTAMP"])) / 1e6


def shutdown(asked: float) -> dict[str, Any]:
    """How long the last boot took to end, by the step, since the reboot was asked for (seconds since the epoch)."""
    ids = (_STOPPING, _STOPPED)
    said = [entries("-b", "-1", f"MESSAGE_ID={one}", f"UNIT={UNIT}")[-1:] for one in ids]
    stopping, stopped = (when(one[0]) - asked if one else None for one in said)
    rest = [one["MESSAGE"] for one in entries("-b", "-1", "_PID=1") if when(one) >= asked]
    ours = [one["MESSAGE"] for one in entries("-b", "-1", f"UNIT={UNIT}") if when(one) >= asked]
    last = when(entries("-b", "-1", "-n", "1")[0]) - asked
    return {
        "stopping": stopping,
        "stopped": stopped,
        "last entry": last,
        "late": [text for text in rest if "timed out" in text or "SIGKILL" in text or "Failed with result" in text],
        "ours": ours,
    }


def first() -> dict[str, Any]:
    """All up to the reboot."""
    told: dict[str, Any] = {"boot": booted(), "container": container(), "short": short_lived()}
    told["busy"] = unending()
    told["upgrade"] = upgraded()
    return told


def second(asked: float) -> dict[str, Any]:
    """After it."""
    told: dict[str, Any] = {"boot": booted(), "shutdown": shutdown(asked), "version": run("mountwarden", "--version")}
    told["report"] = json.loads(run("mountwarden", "report", "--json", "--all"))
    told["history"] = json.loads(run("mountwarden", "history", "--json", "--since=-1day"))
    return told


def answer(told: dict[str, Any]) -> None:
    """Send it, as one line."""
    with open(CHANNEL, "wb", buffering=0) as line:
        tty.setraw(line.fileno())
        line.write(json.dumps(told).encode() + b"\n")


def main() -> None:
    """The boot that it is by what the last one has kept; ends it, whatever comes."""
    end = "poweroff"
    try:
        if _KEPT.exists():
            answer(second(json.loads(_KEPT.read_text())["reboot"]))
            return
        told = first()
        answer(told)
        _KEPT.write_text(json.dumps({"reboot": time.time()}))
        end = "reboot"
    finally:
        run("systemctl", end)


if __name__ == "__main__":
    main()
