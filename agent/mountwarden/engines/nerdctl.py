"""nerdctl: the volumes in its data root, which nerdctl itself only makes and hands to containers.

DATA_ROOT/HASH/volumes/NAMESPACE/NAME/_data, where HASH is of containerd's socket (containerd/nerdctl
pkg/mountutil/volumestore/volumestore.go, New() and Create(), at 2.x; pkg/clientutil/client.go, DataStore()). The data
root is /var/lib/nerdctl (pkg/defaults/defaults_linux.go, DataRoot()), or `data_root` of /etc/nerdctl/nerdctl.toml
(pkg/config/config.go). nerdctl mounts nothing there: what is mounted on a volume is mounted by an operator or by fstab,
in any namespace, and nothing removes its directory at an umount. It keeps no record of mounts.
"""

import os

from ..config.schema import Config
from ..model import Layout, MountClass, Root, RootKind
from .file_cache import toml
from .sources import Host

ENGINE = "nerdctl"

DATA_ROOT = b"/var/lib/nerdctl"
CONFIG_FILE = b"/etc/nerdctl/nerdctl.toml"

LAYOUTS = (Layout(b"*/volumes/*/*/_data", None, MountClass.VOLUME),)


def roots(host: Host, _config: Config) -> list[Root]:
    """The data root, where it is there. Raises: OSError."""
    path = host.realpath(_configured(host) or DATA_ROOT)
    if not path:
        return []
    root = Root(path=path, engine=ENGINE, kind=RootKind.VOLUME, layout=LAYOUTS, home=None, rmdir_on_put=False)
    return [root]


def _configured(host: Host) -> bytes | None:
    try:
        value = toml(host.read(CONFIG_FILE) or b"").get("data_root")
    except (OSError, ValueError, RecursionError) as error:
        host.gap(f"nerdctl's {os.fsdecode(CONFIG_FILE)}", f"{type(error).__name__}: {error}")
        return None
    is_path = isinstance(value, str) and value.startswith("/") and "\0" not in value
    return os.path.normpath(str(value).encode()) if is_path else None
