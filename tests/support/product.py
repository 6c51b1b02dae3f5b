"""The product on a test host, as plain files below /usr/local, which is what `make install` does; or as the .deb that
MOUNTWARDEN_PACKAGE names.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from tests.support import tree
from tests.support.shell import Shell

PROJECT = Path(__file__).resolve().parents[2]
LIBRARY = "/usr/local/lib/mountwarden"
LAUNCHER = f"""#!/usr/bin/python3 -I
import sys
sys.path.insert(0, {LIBRARY!r})
from mountwarden.cli.main import run
sys.exit(run())
"""


def install_product(host: Shell, checkout: Path = PROJECT) -> None:
    """Put a checkout's product, its units and the one library that Debian does not package on a test host."""
    if package := os.environ.get("MOUNTWARDEN_PACKAGE"):
        install_stopped(host, Path(package))
        return
    host.copy_in(checkout / "agent/mountwarden", f"{LIBRARY}/mountwarden")
    host.copy_in(inotify_simple(), f"{LIBRARY}/inotify_simple.py")
    host.write("/usr/local/bin/mountwarden", LAUNCHER, 0o755)
    units = sorted((checkout / "units").glob("mountwarden*"))
    for unit in units:
        text = unit.read_text().replace("/usr/bin/mountwarden", "/usr/local/bin/mountwarden")
        host.write(f"/etc/systemd/system/{unit.name}", text)
    if units:
        host.run("systemctl", "daemon-reload")


def install_package(host: Shell, package: Path) -> None:
    """`dpkg -i`, with whatever it does by itself."""
    host.copy_in(package, f"/root/{package.name}")
    host.run("dpkg", "-i", f"/root/{package.name}")


def install_stopped(host: Shell, package: Path) -> None:
    """The package, its service not started, and links from where the tests know the product to be."""
    host.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)
    install_package(host, package)
    host.run("rm", "/usr/sbin/policy-rc.d")
    host.run("ln", "-s", "/usr/lib/mountwarden", LIBRARY)
    host.run("ln", "-s", "/usr/bin/mountwarden", "/usr/local/bin/mountwarden")


def inotify_simple() -> Path:
    """One pure-Python file: the tester's own where it has it, else from PyPI, kept in the cache."""
    found = importlib.util.find_spec("inotify_simple")
    if found and found.origin:
        return Path(found.origin)
    site = tree.cache() / "site"
    place = site / "inotify_simple.py"
    if not place.exists():
        pip = [sys.executable, "-m", "pip", "--quiet", "install", "--no-deps"]
        subprocess.run([*pip, "--target", str(site), "inotify-simple"], check=True)
    return place


def h2() -> list[Path]:
    """h2 and what it needs, which are pure Python: from PyPI, kept in the cache."""
    site = tree.cache() / "h2"
    packages = [site / name for name in ("h2", "hpack", "hyperframe")]
    if not all(package.is_dir() for package in packages):
        pip = [sys.executable, "-m", "pip", "--quiet", "install"]
        subprocess.run([*pip, "--target", str(site), "h2"], check=True)
    return packages
