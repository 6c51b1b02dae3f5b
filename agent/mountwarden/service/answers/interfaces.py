"""The interfaces on the service's socket: their descriptions, and what the service says of itself."""

from collections.abc import Callable, Mapping
from importlib import resources

from ... import __version__
from ...varlink import interface
from ...varlink.connection import Call
from ...varlink.server import Offer, Product, VarlinkServer

OWN = "io.mountwarden"
METRICS = "io.systemd.Metrics"
STREAMS = {OWN: frozenset({"Watch", "Snapshot"}), METRICS: frozenset({"List", "Describe"})}
"""Methods that need more."""
PRODUCT = Product("mountwarden", "mountwarden", __version__, "man:mountwarden(1)")

Method = Callable[[Call], None]


class NoSuchFinding(interface.VarlinkError):
    """No finding has this id now."""

    def __init__(self, finding_id: str, hint: str | None = None) -> None:
        super().__init__(f"{OWN}.NoSuchFinding", id=finding_id, hint=hint)


class NotAllowed(interface.VarlinkError):
    """The caller may not do that."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{OWN}.NotAllowed", text=text)


class Failed(interface.VarlinkError):
    """It could not be done."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{OWN}.Failed", text=text)


class NotRunning(interface.VarlinkError):
    """No service runs here."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{OWN}.NotRunning", text=text)


def server(methods: Mapping[str, Mapping[str, Method]]) -> VarlinkServer:
    """A server of these methods, by interface and name."""
    offers = [Offer(interface.read(text(name)), known, STREAMS[name]) for name, known in methods.items()]
    return VarlinkServer(PRODUCT, offers, text(interface.SERVICE))


def text(name: str) -> str:
    """The description of an interface, as it ships."""
    return (resources.files("mountwarden") / "data" / f"{name}.varlink").read_text("utf-8")
