"""What a test does on a booted test host: run commands, move files, start units, read the journal."""

import contextlib
import io
import json
import os
import signal
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SESSION = "session-1.scope"
"""The scope in which commands run, as an operator's login shell would be."""

_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "USER": "root",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
}


class CommandFailed(subprocess.CalledProcessError):
    """A command on the test host ended with an error; the text has its output."""

    def __str__(self) -> str:
        return f"{super().__str__()}\nstdout: {self.stdout[-4000:]!s}\nstderr: {self.stderr[-4000:]!s}"


class Shell:
    """Everything here needs only the pid of the test host's init, as this process sees it."""

    pid: int

    def run(
        self,
        *argv: str,
        check: bool = True,
        input: str | None = None,
        timeout: float = 60,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as root in all namespaces of the test host, in the operator's session scope.

        The environment is a clean one plus `env`. With `check`, an exit status other than 0 raises CommandFailed.
        After `timeout` seconds the command's process group is killed and subprocess.TimeoutExpired is raised.
        """
        data = None if input is None else input.encode(errors="surrogateescape")
        done = self._run(argv, data, timeout, env)
        out, err = (text.decode(errors="surrogateescape") for text in (done.stdout, done.stderr))
        if check and done.returncode:
            raise CommandFailed(done.returncode, argv, out, err)
        return subprocess.CompletedProcess(argv, done.returncode, out, err)

    def _run(
        self, argv: Sequence[str], data: bytes | None, timeout: float, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        with self.popen(*argv, env=env) as process:
            try:
                out, err = process.communicate(data, timeout=timeout)
            except BaseException:
                with contextlib.suppress(ProcessLookupError):  # it ended while Popen waited for it after a SIGINT
                    os.killpg(process.pid, signal.SIGKILL)
                raise
        return subprocess.CompletedProcess(argv, process.returncode, out, err)

    def popen(self, *argv: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a command as `run` does, with pipes on its three streams. The caller ends it, by its process group."""
        return subprocess.Popen(
            [*self._entry(), *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={**_ENVIRONMENT, **(env or {})},
        )

    def _entry(self) -> list[str]:
        """nsenter does not join the control group, and a process outside of it would have no unit."""
        procs = f"/proc/{self.pid}/root/sys/fs/cgroup/user.slice/user-0.slice/{SESSION}/cgroup.procs"
        join = '[ ! -e "$0" ] || echo $$ > "$0"; exec "$@"'
        return ["/bin/sh", "-c", join, procs, "nsenter", "-t", str(self.pid), "-a", "--"]

    def python(
        self, code: str, *args: str, check: bool = True, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run Python code with the host's own interpreter; the installed product can be imported."""
        path = {"PYTHONPATH": "/usr/local/lib/mountwarden"}
        return self.run("/usr/bin/python3", "-c", code, *args, check=check, timeout=timeout, env=path)

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file; missing directories are made."""
        script = 'mkdir -p "${1%/*}/" && cat > "$1" && chmod "$2" "$1"'
        self.run("/bin/sh", "-c", script, "sh", path, f"{mode:o}", input=text)

    def read(self, path: str) -> str:
        """The content of a file, as the test host sees that path."""
        return self.run("cat", "--", path).stdout

    def copy_in(self, source: Path, path: str) -> None:
        """Copy a file or directory of this machine to `path`, without owners and byte code."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.add(source, path.lstrip("/"), filter=_plain)
        done = self._run(("tar", "-C", "/", "--no-overwrite-dir", "-xf", "-"), archive.getvalue(), 60)
        if done.returncode:
            raise CommandFailed(done.returncode, "tar", "", done.stderr.decode())

    def unit(self, name: str, *properties: str, command: Sequence[str] = ("sleep", "infinity")) -> str:
        """Start a transient service and wait until it is active. `properties` are unit settings, as "PrivateTmp=yes".

        With the default Type=exec, systemd has set up its namespaces and executed the command when this returns.
        Returns the full name of the unit.
        """
        full = name if "." in name else f"{name}.service"
        kind = [] if any(text.startswith("Type=") for text in properties) else ["-p", "Type=exec"]
        settings = [word for text in properties for word in ("-p", text)]
        self.run("systemd-run", "--quiet", f"--unit={full}", *kind, *settings, "--", *command)
        return full

    def show(self, unit: str, name: str) -> str:
        """One property of a unit, as `systemctl show --value` prints it."""
        return self.run("systemctl", "show", "--value", "-p", name, unit).stdout.strip()

    def main_pid(self, unit: str) -> int:
        """The pid of a unit's main process on the test host; 0 if it has none."""
        return int(self.show(unit, "MainPID"))

    def outer_pid(self, pid: int) -> int:
        """The pid, as this process sees it, of a process of the test host's pid namespace."""
        namespace = os.readlink(f"/proc/{self.pid}/ns/pid")
        for entry in (name for name in os.listdir("/proc") if name.isdigit()):
            try:
                if os.readlink(f"/proc/{entry}/ns/pid") == namespace and _inner_pid(entry) == pid:
                    return int(entry)
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue  # ended meanwhile; or the outermost init of a container, which even root may not look into
        raise ProcessLookupError(f"no process {pid} on the test host")

    def journal(self, *matches: str) -> list[dict[str, Any]]:
        """The entries of this boot that match, oldest first; arguments are journalctl's (FIELD=value, `-u UNIT`)."""
        self.run("journalctl", "--sync")
        text = self.run("journalctl", "--quiet", "--no-pager", "--all", "-o", "json", *matches).stdout
        return [{name: _text(value) for name, value in json.loads(line).items()} for line in text.splitlines()]


def _text(value: Any) -> Any:
    """journalctl writes what is not plain UTF-8 as a list of byte values."""
    if isinstance(value, list) and value and all(isinstance(item, int) for item in value):
        return bytes(value).decode(errors="surrogateescape")
    return value


def _inner_pid(entry: str) -> int:
    status = Path(f"/proc/{entry}/status").read_text(errors="replace")
    return int(next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[-1])


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if entry.name.endswith(("/__pycache__", ".pyc", ".egg-info")):
        return None
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry
