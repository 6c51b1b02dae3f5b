"""Fields that journald adds to an entry by its sender, and a journalctl that prints what a test gives it."""

import json
import os
import shlex
from pathlib import Path

import pytest

FROM_SERVICE = {
    "_UID": "0",
    "_SYSTEMD_UNIT": "mountwarden.service",
    "_SYSTEMD_CGROUP": "/system.slice/mountwarden.service",
}
FROM_SESSION = {
    "_UID": "0",
    "_PID": "47",
    "_COMM": "mountwarden",
    "_CMDLINE": "/usr/bin/python3 -I /usr/bin/mountwarden detach mw-1",
    "_CAP_EFFECTIVE": "1ffffffffff",
    "_SYSTEMD_UNIT": "session-3.scope",
    "_SYSTEMD_CGROUP": "/user.slice/user-1000.slice/session-3.scope",
}


def lines(*entries: object) -> str:
    """As `journalctl --output=json` prints them."""
    return "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)


class Journalctl:
    """A program of that name, first in PATH: it notes how it was called, and runs a line of shell."""

    def __init__(self, place: Path, patch: pytest.MonkeyPatch) -> None:
        self._place = place
        patch.setenv("PATH", f"{place}:{os.environ['PATH']}")

    def does(self, script: str) -> None:
        """From now on. The arguments are the script's."""
        noted = f'printf "%s\\n" "$@" "" >>{shlex.quote(str(self._place / "calls"))}'
        program = self._place / "journalctl"
        program.unlink(missing_ok=True)
        program.write_text(f"#!/bin/sh\n{noted}\n{script}\n")
        program.chmod(0o755)

    def prints(self, out: str, err: str = "", status: int = 0) -> None:
        """From now on, whatever it is asked."""
        (self._place / "out").write_text(out, errors="surrogateescape")
        self.does(f"cat {self._place}/out; printf %s {shlex.quote(err)} >&2; exit {status}")

    @property
    def calls(self) -> list[list[str]]:
        """The arguments of each call up to now."""
        noted = self._place / "calls"
        return [call.split("\n") for call in noted.read_text().split("\n\n")[:-1]] if noted.exists() else []
