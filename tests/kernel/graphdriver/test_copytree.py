"""A copied tree is the same tree: names, kinds, owners, modes, times, extended attributes, links among its files."""

import os
import random
import struct
from pathlib import Path

import pytest
from mountwarden.graphdriver.copytree import TreeCopy, copy_tree

from tests.kernel.graphdriver.random_layers import RandomChanges

OLD, NEW = Path("/mnt/old"), Path("/mnt/new")
DEFAULT_ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", *entry)
    for entry in ((1, 7, 0xFFFFFFFF), (2, 5, 1234), (4, 5, 0xFFFFFFFF), (16, 5, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF))
)


def described(root: Path) -> dict[str, tuple[object, ...]]:
    """Path below the root -> all that is to be the same; a file's name that comes first stands for its inode."""
    first: dict[int, str] = {}
    found: dict[str, tuple[object, ...]] = {}
    paths = [os.path.join(d, name) for d, names, files in os.walk(root) for name in names + files]
    for path in sorted([*paths, str(root)]):
        s, name = os.lstat(path), os.path.relpath(path, root)
        link = os.readlink(path) if os.path.islink(path) else None
        values = {x: os.getxattr(path, x, follow_symlinks=False) for x in os.listxattr(path, follow_symlinks=False)}
        times = (s.st_mtime_ns, first.setdefault(s.st_ino, name))
        found[name] = (s.st_mode, s.st_uid, s.st_gid, s.st_rdev, times, link, sorted(values.items()))
    return found


@pytest.mark.parametrize("how", TreeCopy)
def test_a_copy_is_the_same_tree(how: TreeCopy) -> None:
    for number in range(10):
        (OLD / str(number) / "a/b").mkdir(parents=True)
        RandomChanges(OLD / str(number), random.Random(number)).run(20)
    (OLD / "link").symlink_to("nowhere")
    os.link(OLD / "link", OLD / "9/same")
    os.lchown(OLD / "link", 5, 7)
    os.setxattr(OLD / "link", "trusted.a", b"1", follow_symlinks=False)
    for directory, _, _ in os.walk(OLD):
        os.utime(directory, ns=(0, 10**18 + len(directory)))
    NEW.mkdir()
    copy_tree(bytes(OLD), bytes(NEW), how)
    assert described(NEW) == described(OLD)
    assert len(described(OLD)) > 40
    shared = [name for name in described(OLD) if os.path.samestat(os.lstat(OLD / name), os.lstat(NEW / name))]
    files = [name for name in described(OLD) if os.path.islink(OLD / name) or not (OLD / name).is_dir()]
    assert sorted(shared) == sorted(files if how is TreeCopy.HARDLINK else [])


@pytest.mark.parametrize("how", TreeCopy)
def test_a_directory_with_a_default_acl_gives_it_to_no_copy(how: TreeCopy) -> None:
    (OLD / "d/sub").mkdir(parents=True)
    (OLD / "d/f").touch()
    os.setxattr(OLD / "d", "system.posix_acl_default", DEFAULT_ACL)
    (OLD / "d").chmod(0o2000)
    NEW.mkdir()
    copy_tree(bytes(OLD), bytes(NEW), how)
    assert described(NEW) == described(OLD)
    assert os.listxattr(NEW / "d/sub") == []
