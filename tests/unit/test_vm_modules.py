"""The order in which a guest loads its modules, from what Debian's packages hold."""

import lzma
from pathlib import Path

import pytest

from tests.support.vm.apt import Unavailable
from tests.support.vm.modules import Modules


def module(directory: Path, name: str, depends: str, *, packed: bool = False) -> None:
    data = b"\x7fELF\0license=GPL\0depends=" + depends.encode() + b"\0name=" + name.encode() + b"\0"
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f"{name}.ko{'.xz' if packed else ''}"
    file.write_bytes(lzma.compress(data) if packed else data)


def test_each_module_comes_after_those_that_it_needs(tmp_path: Path) -> None:
    module(tmp_path / "fs", "ext4", "jbd2,crc-itu", packed=True)
    module(tmp_path / "fs/jbd2", "jbd2", "crc-itu")
    module(tmp_path / "lib", "crc-itu", "")
    module(tmp_path / "lib", "unwanted", "")
    order = Modules(tmp_path).load_order(("ext4", "built-in", "jbd2"))
    assert list(order) == ["crc_itu", "jbd2", "ext4"]
    assert order["ext4"].startswith(b"\x7fELF"), "unpacked: the guest has nothing to unpack it with"


def test_a_package_without_modules_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no module"):
        Modules(tmp_path)
