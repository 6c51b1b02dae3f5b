"""Block devices that the host mounts anywhere: a copy that outlives the host's mount keeps its device busy.

No engine is needed for that: the namespace of a service that started while a disk, a LUKS mapping or a network block
device was mounted still has it after the umount, and `losetup -d`, `cryptsetup close` or a detach of the device then
fail with EBUSY. Nothing removes a mountpoint after such an umount, and there is no record: what the kernel itself says
(such as Linux drivers/block/loop.c, loop_clr_fd()) is all.
"""

from ..config.schema import Config
from ..model import Layout, MountClass, Root, RootKind
from .sources import Host

ENGINE = "host"
LAYOUTS = (Layout(b"**", None, MountClass.VOLUME, needs_history=True),)


def roots(_host: Host, _config: Config) -> list[Root]:
    """PID 1's whole tree. A mount counts as leaked there only if an earlier scan saw it in the home namespace."""
    return [Root(path=b"/", engine=ENGINE, kind=RootKind.VOLUME, layout=LAYOUTS, home=None)]
