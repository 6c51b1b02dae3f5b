"""Block devices that the host mounts anywhere: a copy that outlives the host's mount keeps its device busy.

No engine is needed for that: the namespace of a service that started while a disk, a LUKS mapping or a network block
device was mounted still has it after the umount, and `losetup -d`, `cryptsetup close` or a detach of the device then
fail with EBUSY.
"""

from ..config.schema import Config
from ..model import Layout, MountClass, Root, RootKind
from .sources import Host

ENGINE = "host"


def roots(_host: Host, _config: Config) -> list[Root]:
    """PID 1's whole tree. A mount counts as leaked there only if an earlier scan saw it in the home namespace."""
    layout = Layout(b"**", None, MountClass.VOLUME, needs_history=True)
    return [Root(path=b"/", engine=ENGINE, kind=RootKind.VOLUME, layout=(layout,), home=None)]
