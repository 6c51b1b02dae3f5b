"""The way to a service: its socket on this host, or, over ssh, `mountwarden varlink` of another one.

What another host says is another host's: its text is made printable again before anything is done with it.
"""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from typing import IO, Any

from ..errors import MountwardenError
from ..escape import printable, sentence
from ..state.run_directory import RunDirectory, is_covered
from ..systemd import OWN_UNIT
from ..varlink.client import Client, Trouble, Unreachable

HERE = 2.0
"""Seconds for an answer of the service of this host."""
ACTING = 15.0
"""The same where it is to act: nobody else may while it runs, so that one is waited for that scans for thousands."""
THERE = 30.0
"""Seconds for one of another host, with ssh's own start."""
_END = 2.0
"""Seconds for ssh to end after its output did."""


def connect(host: str | None = None, *, deadline: float = HERE) -> Client:
    """A client of the service of this host, connected within `deadline` seconds; or of `host`, as ssh takes it.

    Raises: Unreachable; MountwardenError for a name that is none.
    """
    if host is not None:
        return _over_ssh(host)
    if is_covered(directory := RunDirectory()):  # what is there may be a file system that hangs
        raise Unreachable(
            Trouble.ABSENT, f"something is mounted over {directory.path}", hint=f"umount {directory.path}"
        )
    return Client.connect(os.fspath(directory.socket), deadline=deadline)


def local(deadline: float = HERE) -> Client:
    """A client of the service of this host, which has answered within `deadline` seconds. Raises: Unreachable."""
    client = connect()
    client.call("org.varlink.service.GetInfo", deadline=deadline)
    return client


def _over_ssh(host: str) -> "SshClient":
    if not host or host.startswith("-") or not host.isprintable():
        raise MountwardenError(f"{printable(host)!r} is no host", hint="-H takes what ssh takes: user@name")
    said = tempfile.TemporaryFile()  # noqa: SIM115 - the client closes it
    try:
        # Nothing of the host's name reaches a shell: it is one argument, and after -- no option.
        ssh = subprocess.Popen(
            ["ssh", "-T", "--", host, "mountwarden", "varlink"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
        )
    except OSError as error:
        said.close()
        raise Unreachable(Trouble.ABSENT, f"ssh can't be run: {error.strerror}", hint="-H needs ssh(1)") from None
    return SshClient(host, ssh, said)


class SshClient(Client):
    """A client of another host's service."""

    def __init__(self, host: str, ssh: "subprocess.Popen[bytes]", said: IO[bytes]) -> None:
        """`said` is where `ssh` writes its errors."""
        assert ssh.stdin
        assert ssh.stdout
        self._host, self._ssh, self._said = host, ssh, said
        super().__init__(ssh.stdout.fileno(), ssh.stdin.fileno(), self._end)

    def lost(self) -> Unreachable:
        """What ssh, or the shell of the host, said last."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._ssh.wait(_END)
        self._said.seek(0)
        lines = [line for line in self._said.read(1 << 16).decode(errors="replace").splitlines() if line.strip()]
        why = sentence(lines[-1].strip()) if lines else f"it ended with status {self._ssh.poll()}"
        return Unreachable(Trouble.LOST, f"ssh {self._host}: {why}", hint=f"try: ssh {self._host} mountwarden status")

    def _end(self) -> None:
        for stream in (self._ssh.stdin, self._ssh.stdout, self._said):
            if stream:
                with contextlib.suppress(OSError):
                    stream.close()
        try:
            self._ssh.wait(_END)
        except subprocess.TimeoutExpired:
            self._ssh.kill()
            self._ssh.wait()


@contextlib.contextmanager
def understood(host: str) -> Iterator[None]:
    """Raises: MountwardenError where a document of another host lacks what it should have."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise MountwardenError(
            f"what {printable(host)} says can't be understood: {type(error).__name__}: {printable(str(error))}",
            hint="the two may differ in version",
        ) from None


def clean(value: Any) -> Any:
    """A document of another host, with all its text fit for a terminal."""
    match value:
        case str():
            return sentence(value)
        case list():
            return [clean(item) for item in value]
        case dict():
            return {sentence(key): clean(item) for key, item in value.items()}
    return value


def of_schema(document: Any, schema: str, host: str | None) -> Any:
    """The document of a service. Raises: MountwardenError where it is of another schema."""
    found = document.get("schema") if isinstance(document, dict) else None
    if found != schema:
        who = OWN_UNIT if host is None else printable(host)
        hint = f"its schema is {printable(str(found))}; was it restarted after an upgrade?"
        raise MountwardenError(f"{who} has no {schema}", hint=hint)
    return document
