"""The Debian mirror that this machine's apt uses, for any suite. No address is kept anywhere but in the cache."""

import shutil
import subprocess


def lines(suite: str) -> list[str]:
    """The `deb` line for `suite`, one of Debian's own or of its security archive; [] where apt tells no mirror."""
    security = suite.endswith("-security")
    for origin, archive, address in _known():
        whole = origin == "Debian" and not archive.endswith(("-updates", "-backports"))
        if whole and archive.endswith("-security") == security:
            return [f"deb {address} {suite} main"]
    return []


def _known() -> list[tuple[str, str, str]]:
    """(origin, suite, address) of each of apt's sources."""
    if not shutil.which("apt-get"):
        return []
    form = "$(ORIGIN)|$(SUITE)|$(REPO_URI)"
    command = ["apt-get", "indextargets", "--format", form, "Created-By: Packages"]
    text = subprocess.run(command, capture_output=True, text=True).stdout
    return [(origin, archive, address) for origin, archive, address in (x.split("|", 2) for x in text.splitlines())]
