"""Instances of Incus and LXD by the directories of their storage pools. They need not run.

lxc/incus: internal/server/storage/drivers/utils.go (GetVolumeMountPath): storage-pools/POOL/containers/NAME and
virtual-machines/NAME, below INCUS_DIR; internal/server/project/project.go (Instance): in another project than the
default one the name there is PROJECT_NAME, and neither part has an underscore. LXD has the same below its own
directory. Where that is, the module of both knows.
"""

from collections.abc import Iterator

from .known_containers import KnownContainer
from .stores import listed


def instances(directory: str, engine: str) -> Iterator[KnownContainer]:
    """Every instance of every pool; its id is the name that LXC has it by."""
    for pool in listed(f"{directory}/storage-pools"):
        for kind in ("containers", "virtual-machines"):
            for full in listed(f"{directory}/storage-pools/{pool}/{kind}"):
                project, _, name = full.rpartition("_")
                names = (name,) if project else ()
                yield KnownContainer(engine, full, names, f"{directory}/storage-pools/{pool}/{kind}/{full}")
