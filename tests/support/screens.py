"""What the documents show: commands run on a test host with a real dockerd, and their output.

A block of a document that stands below `<!-- screen: NAME -->` is what `screens` gives for that name.
`packaging/screens.py` writes the blocks; a test compares them, but for ids, times and counts.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.machine import Machine
from tests.support.wait import wait_until

PROJECT = Path(__file__).resolve().parents[2]
DOCUMENTS = tuple(sorted([PROJECT / "README.md", *PROJECT.glob("docs/*.md")]))
BLOCK = re.compile(r"(?<=<!-- screen: )(?P<name>[a-z-]+)( -->\n```\n)(?P<text>.*?)(?=```\n)", re.DOTALL)

ROOT = "/var/lib/docker"
LAYER = f"{ROOT}/overlay2/X"
HOLDER = "[Service]\nExecStart=/bin/sleep infinity\nType=exec\nPrivateTmp=yes\nMountFlags=private\n"
MOUNT = f"""
set -e; mkdir -p {LAYER}/lower {LAYER}/diff {LAYER}/work {LAYER}/merged; cd {LAYER}
mount -t overlay overlay -o lowerdir=lower,upperdir=diff,workdir=work merged
"""
DEMO = ("mountwarden report", "mountwarden detach", "Gone")
"""Chapters of the demo that the README shows."""


def screens(host: Machine) -> dict[str, str]:
    """Every screen, by its name. The host has dockerd running, the image `bb`, and the product without its service."""
    host.run("hostname", "host")
    found = dict([*_leak(host), *_busy(host), *_service(host)])
    return {**found, "demo": _demo(host)}


def _leak(host: Machine) -> Iterator[tuple[str, str]]:
    """A layer that leaked into a service, as an engine leaves it that is killed between its umount and its rmdir."""
    host.write("/etc/systemd/system/php-fpm.service", HOLDER)
    host.run("systemctl", "daemon-reload")
    host.run("sh", "-c", MOUNT)
    host.run("systemctl", "start", "php-fpm")
    yield "map", shell(host, "mountwarden map")
    host.run("umount", f"{LAYER}/merged")
    yield "report", shell(host, "mountwarden")
    finding = the_leak(host)
    yield "explain", shell(host, f"mountwarden explain {finding}")
    yield "detach", shell(host, f"mountwarden detach {finding}")
    yield "after", shell(host, "mountwarden report")


def _busy(host: Machine) -> Iterator[tuple[str, str]]:
    """A chroot with all of the host bound into it, apart from the host's propagation: docker rm says busy."""
    host.docker("run", "-d", "--name", "web", "--network", "none", "bb", "sleep", "1000")
    host.run("sh", "-c", "mkdir -p /srv/chroot && mount --rbind / /srv/chroot && mount --make-rprivate /srv/chroot")
    refused = shell(host, "docker rm -f web")
    path = busy_path(refused)
    who = shell(host, f"mountwarden who {path}")
    yield "busy", f"{refused}{shell(host, 'mountwarden')}{who}"
    freed = shell(host, f"umount {busy_mount(who)}") + shell(host, "docker rm -f web")
    yield "busy-over", freed
    host.run("sh", "-c", "umount -R /srv/chroot && rmdir /srv/chroot")


def _service(host: Machine) -> Iterator[tuple[str, str]]:
    """The same leak while the service runs: it acts by itself."""
    host.run("systemctl", "start", "mountwarden")
    host.run("sh", "-c", MOUNT)
    host.run("systemctl", "restart", "php-fpm")
    wait_until(lambda: '"kind": "severed"' in _report(host), 20, "the service has seen the copy")
    host.run("umount", f"{LAYER}/merged")
    wait_until(lambda: _events(host, "cleared"), 20, "the service has ended it")
    wait_until(lambda: '"acts": []' not in host.read("/run/mountwarden/status.json"), 20, "and says so")
    yield "status", shell(host, "mountwarden status")
    yield "history", shell(host, "mountwarden history")
    host.run("systemctl", "stop", "mountwarden", "php-fpm")


def _events(host: Machine, event: str) -> bool:
    words = ("_SYSTEMD_UNIT=mountwarden.service", f"MOUNTWARDEN_EVENT={event}")
    return bool(host.journal(*words))


def _report(host: Machine) -> str:
    return host.run("cat", "/run/mountwarden/report.json", check=False).stdout


def _demo(host: Machine) -> str:
    """Some chapters of the demo; what stands between them is left out, and said to be."""
    text = host.run("mountwarden", "demo").stdout
    chapters = re.split(r"\n(?=\d+\. )", text)
    kept = [one.strip("\n") for one in chapters if one.split(". ", 1)[-1].startswith(DEMO)]
    kept[-1] = kept[-1].split("\n\n")[0]
    return "\n[…]\n".join(kept) + "\n"


def the_leak(host: Machine) -> str:
    """The id of the one finding that counts."""
    told = json.loads(host.run("mountwarden", "report", "--json", check=False).stdout)
    (finding,) = [one["id"] for one in told["findings"] if one["severity"] != "info"]
    return str(finding)


def busy_path(refusal: str) -> str:
    """The path that an engine's refusal names."""
    match = re.search(r"unlinkat (\S+): device or resource busy", refusal)
    assert match, refusal
    return match[1]


def busy_mount(told: str) -> str:
    """The mountpoint in what `who` says."""
    match = re.search(r"^  stacked  (\S+)", told, re.MULTILINE)
    assert match, told
    return match[1]


def shell(host: Machine, command: str) -> str:
    """A command as typed, and what it printed."""
    done = host.run("sh", "-c", command, check=False)
    text = "".join(f"{line.rstrip()}\n" for line in (done.stdout + done.stderr).splitlines())
    return f"$ {command}\n{text}"


def shortened(text: str) -> str:
    """Names of 64 digits as people know them, by their first 12."""
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1", text)


_VARIES = (
    (r"mw-[0-9a-f]{10}", "ID"),
    (r"mountwarden-demo-[0-9a-f]{6}", "mountwarden-demo"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
    (r"\b[0-9a-f]{12}\b", "NAME"),
    (r"\b\d+(\.\d+)? (ms|s|min)\b", "DURATION"),
    (r"\b0:\d+", "DEVICE"),
    (r"tier \w+ \((?:[^()]|\([^()]*\))*\)", "TIER"),
    (r"\((mountinfo|statmount|events)\)", "(TIER)"),
    (r"(?i)\b(pid|process|namespaces?|group|mount|inode) \[?\d+\]?", r"\1 N"),
    (r" N, id \d+", " N"),
    (r"\b[\d,]+ (namespaces?|mounts?|mount namespaces?)\b", r"N \1"),
)


def normal(text: str) -> str:
    """A screen without what differs from run to run; line breaks depend on that, so they count as spaces."""
    text = " ".join(text.split())
    for pattern, word in _VARIES:
        text = re.sub(pattern, word, text)
    return text


def shown() -> dict[str, list[str]]:
    """The documents' blocks, by name."""
    found: dict[str, list[str]] = {}
    for document in DOCUMENTS:
        for match in BLOCK.finditer(document.read_text()):
            found.setdefault(match["name"], []).append(match["text"])
    return found
