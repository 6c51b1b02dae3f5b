"""What a guest boots into: the small archive that is joined to the userland's at each run, and the texts of its init.

There is no systemd in it: PID 1 is a shell, the user is root, /tmp and /run are in memory, lo is up and nothing else. A
cgroup tree is mounted, so that a process can be put in a service's cgroup as systemd would.
"""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from tests.support.vm.cpio import Archive
from tests.support.vm.kernels import Unpacked

SOURCE = "/src"
"""Where the checkout is in the guest, and where the command runs."""
STATUS = b"@@status "
"""What precedes the command's exit status, at the beginning of the last line that the guest sends."""

_CHANNEL = "/dev/ttyS1"

# pivot_root(2) can't leave the initramfs's own root, and tests call it: a bind of that root is moved over "/" first.
_INIT = """#!/usr/bin/busybox sh
b=/usr/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs devtmpfs /dev
for module in {modules}; do
    $b insmod "/vm/$module.ko" || echo "vm: $module is not loaded"
done
$b mount --bind / /vm/root
for name in proc sys dev; do $b mount --move "/$name" "/vm/root/$name"; done
cd /vm/root
$b mount --move . /
exec $b chroot . $b sh /vm/main
"""

_MAIN = """b=/usr/bin/busybox
$b mkdir -p /dev/pts /dev/shm
$b mount -t devpts devpts /dev/pts
for place in /dev/shm /tmp /run; do $b mount -t tmpfs -o mode=1777 tmpfs "$place"; done
$b mount -t cgroup2 cgroup2 /sys/fs/cgroup || echo "vm: no cgroup2"
$b ip link set lo up
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM=dumb
{environment}
cd {source}
$b stty -F {channel} raw -echo
echo "vm: up after $($b cut -d ' ' -f 1 /proc/uptime) s"
{command} </dev/null >{channel} 2>&1
status=$?
$b printf '\\n{mark}%d\\n' "$status" >{channel}
echo "vm: done after $($b cut -d ' ' -f 1 /proc/uptime) s"
$b reboot -f
"""


def write(
    file: IO[bytes],
    kernel: Unpacked,
    trees: Mapping[str, Path],
    command: Sequence[str],
    environment: Mapping[str, str],
) -> None:
    """Write the archive: modules, init, and these trees (or files) by their names below `SOURCE`."""
    archive = Archive(file)
    for name in kernel.modules:
        archive.file(f"vm/{name}.ko", (kernel.directory / f"{name}.ko").read_bytes())
    archive.file("vm/init", _INIT.format(modules=" ".join(kernel.modules)).encode(), 0o755)
    archive.file("vm/main", _main(command, environment).encode())
    for name, place in trees.items():
        inner = f"{SOURCE}/{name}".lstrip("/")
        if place.is_dir():
            archive.tree(place, inner, skipped=lambda path: "__pycache__" in path)
        else:
            archive.file(inner, place.read_bytes())
    archive.close()


def _main(command: Sequence[str], environment: Mapping[str, str]) -> str:
    return _MAIN.format(
        environment="\n".join(f"export {name}={shlex.quote(value)}" for name, value in environment.items()),
        source=SOURCE,
        channel=_CHANNEL,
        command=shlex.join(command),
        mark=STATUS.decode(),
    )
