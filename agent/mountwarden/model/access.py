"""Who may search which directory, by the kernel's rules: generic_permission() of fs/namei.c and user_namespaces(7)."""

from collections.abc import Iterable
from dataclasses import dataclass

MODE_BASED = frozenset({"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "ramfs", "tmpfs", "xfs"})
"""Types of file systems whose directories are guarded by owner, mode and POSIX ACL and by nothing that allows more. A
server, a FUSE process or a richer ACL may allow others whatever the mode says."""


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory as stat(2) describes it to the agent; ids are those of the agent's user namespace."""

    mode: int
    uid: int
    gid: int
    acl: bool = False
    """It has a POSIX ACL, or whether it has one is not known."""


@dataclass(frozen=True, slots=True)
class Identities:
    """Ids that processes have or can give themselves, as the agent's user namespace names them."""

    uids: tuple[range, ...] = ()
    gids: tuple[range, ...] = ()

    def joined(self, others: "Iterable[Identities]") -> "Identities":
        """With those of others."""
        others = tuple(others)
        uids = {*self.uids, *(ids for one in others for ids in one.uids)}
        gids = {*self.gids, *(ids for one in others for ids in one.gids)}
        return Identities(tuple(sorted(uids, key=_order)), tuple(sorted(gids, key=_order)))

    def may_search(self, directory: Directory) -> bool:
        """Whether one of them may look up names in the directory, or may make it so. An ACL counts as if it allowed it.

        The owner may change the mode. A capability of another user namespace, such as CAP_DAC_READ_SEARCH, counts only
        for a directory whose owner and group are both mapped there (capable_wrt_inode_uidgid() of kernel/capability.c),
        CAP_FOWNER only where its owner is: so of these, too, the owner decides.
        """
        if directory.acl or directory.mode & 0o001:
            return True
        if any(directory.uid in ids for ids in self.uids):
            return True
        return bool(directory.mode & 0o010) and any(directory.gid in ids for ids in self.gids)


def _order(ids: range) -> tuple[int, int]:
    return ids.start, ids.stop
