"""The plugin as a service: socket, readiness, end. After the start it makes no process and enters no namespace."""

import os
import signal
import socket
import threading
from dataclasses import dataclass

from .. import support
from ..driver import GraphdriverError
from ..visibility import OwnSettings, require_visible
from .http import Server, listen
from .protocol import GraphdriverPlugin

_LISTEN_FD = 3  # SD_LISTEN_FDS_START of sd_listen_fds(3)
_FINISH_SECONDS = 20
_BUILT_IN = frozenset(("aufs", "btrfs", "devicemapper", "fuse-overlayfs", "overlay", "overlay2", "vfs", "zfs"))
_DOCKER_ROOT = "/var/lib/docker"
DEFAULT_NAME = "mountwarden"


@dataclass(frozen=True, slots=True)
class Settings:
    """How the plugin runs. Without a home it takes the one that dockerd names."""

    name: str = DEFAULT_NAME
    home: str | None = None
    socket: str | None = None
    state: str | None = None

    def socket_path(self) -> str:
        """Where dockerd looks for a plugin of that name."""
        return self.socket or f"/run/docker/plugins/{self.name}.sock"

    def state_path(self) -> str:
        """Where the arguments of Init are kept: below /run, since they hold for this boot."""
        return self.state or f"/run/mountwarden-graphdriver/{self.name}.json"


def serve(settings: Settings, own_settings: OwnSettings) -> None:
    """Serve until SIGTERM or SIGINT; requests that run then are finished first. Mounts stay as they are.

    Raises: GraphdriverError; RefusedToRun, with what `own_settings` names, where dockerd would not see the mounts.
    """
    if settings.name in _BUILT_IN:
        raise GraphdriverError(f"{settings.name} is a driver of Docker's own, which wins", hint="take another name")
    require_visible(os.fsencode(os.path.abspath(settings.home or _DOCKER_ROOT)), own_settings)
    support.load_overlay_module()
    support.require_overlay()
    plugin = GraphdriverPlugin(settings.home, settings.state_path())
    plugin.restore()
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    inherited = _inherited_socket()
    server = Server(inherited or listen(settings.socket_path()), plugin)
    thread = threading.Thread(target=server.serve_forever, name="accept")
    thread.start()
    try:
        notify("READY=1", f"STATUS=serving {settings.name}")
        signal.sigwait(signals)
        notify("STOPPING=1")
    finally:
        server.shutdown()
        thread.join()
        server.wait_idle(_FINISH_SECONDS)
        server.server_close()
        if inherited is None:
            os.unlink(settings.socket_path())


def _inherited_socket() -> socket.socket | None:
    """The socket of a socket unit, by sd_listen_fds(3)."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
        return None
    os.set_inheritable(_LISTEN_FD, False)
    return socket.socket(fileno=_LISTEN_FD)


def notify(*lines: str) -> None:
    """sd_notify(3): send lines to the service manager, if it listens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        try:
            out.sendto("\n".join(lines).encode(), "\0" + address[1:] if address.startswith("@") else address)
        except OSError:
            return
