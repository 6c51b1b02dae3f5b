"""Booting a kernel, running one command in it, and getting back what it printed.

The virtual machine runs in a mount and a PID namespace of its own, below a tree of ours: nothing outlives it.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.vm import guest, kernels, userland
from tests.support.vm.apt import Unavailable
from tests.support.vm.kernels import Kernel, Unpacked

MEMORY = 640
"""MiB; the archive is held twice while the kernel unpacks it."""


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a command in a guest. `status` is None where the guest ended or was ended before the command did."""

    kernel: Kernel
    version: str
    output: str
    console: str
    status: int | None
    seconds: float

    def text(self) -> str:
        """Everything, for a failure's message."""
        how = "ended early" if self.status is None else f"status {self.status}"
        return f"{self.kernel.name} ({self.version}): {how} after {self.seconds:.0f} s\n{self.output}\n{self.console}"


def obstacle() -> str | None:
    """Why no other kernel can be run here, in one sentence; None where one can."""
    if os.geteuid() != 0:
        return "other kernels need root here: their userland is made in a chroot"
    missing = [name for name in ("mmdebstrap", "dpkg-deb", "apt-get", "unshare") if not shutil.which(name)]
    if missing:
        return f"other kernels need {', '.join(missing)}"
    if os.uname().machine != "x86_64":
        return "the kernels that are tried are built for x86_64"
    return None


def prepare(kernel: Kernel) -> Unpacked:
    """Everything that a run of this kernel needs, fetched if need be. Raises: Unavailable."""
    if reason := obstacle():
        raise Unavailable(reason)
    userland.initramfs()
    userland.build(userland.QEMU)
    return kernels.unpack(kernel)


def run(
    kernel: Kernel,
    trees: Mapping[str, Path],
    command: Sequence[str],
    *,
    timeout: float,
    environment: Mapping[str, str] | None = None,
) -> Run:
    """Boot the kernel with these trees below /src, run the command there, and wait for its end. Raises: Unavailable."""
    unpacked = prepare(kernel)
    with tempfile.TemporaryDirectory(prefix="mountwarden-vm-") as directory:
        with open(Path(directory, "initramfs"), "wb") as file:
            with open(userland.initramfs(), "rb") as packed:
                shutil.copyfileobj(packed, file, 1 << 20)
            guest.write(file, unpacked, trees, command, environment or {})
        machine = contained(unpacked.directory, Path(directory), qemu(_APPEND, memory=MEMORY))
        started = time.monotonic()
        output, console = carried_out(machine, timeout)
        seconds = time.monotonic() - started
    text = output.decode(errors="replace").replace("\r\n", "\n")
    told, mark, status = text.rpartition("\n" + guest.STATUS.decode())
    complete = mark and status.strip().isdigit()
    answer = int(status) if complete else None
    return Run(kernel, unpacked.version, told if complete else text, console.decode(errors="replace"), answer, seconds)


def carried_out(argv: Sequence[str], timeout: float) -> tuple[bytes, bytes]:
    """What came on both channels until the end or the deadline."""
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            return process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            return process.communicate()
        finally:
            process.kill()


# $1 the tree, $2 the run's directory, $3 the kernel's; the rest is the command.
_ENTER = """
set -e
mount --bind "$2" "$1/mnt"
mount --bind "$3" "$1/srv"
mount --bind /dev "$1/dev"
mount -t proc proc "$1/proc"
mount -t tmpfs tmpfs "$1/run"
root=$1
shift 3
exec chroot "$root" "$@"
"""


def contained(kernel: Path, directory: Path, command: Sequence[str]) -> list[str]:
    """The command in namespaces that end with it, and it with us. It finds the two directories at /srv and /mnt."""
    enter = ["setpriv", "--pdeathsig", "KILL", "nice", "unshare", "--mount", "--propagation", "private"]
    enter += ["--pid", "--fork", "--kill-child", "sh", "-c", _ENTER, "sh"]
    return [*enter, str(userland.build(userland.QEMU)), str(directory), str(kernel), *command]


_QEMU = """qemu-system-x86_64 {emulation} -cpu max -M q35 -smp 1 -nodefaults -no-user-config
-display none -no-reboot -m {memory} -kernel /srv/image -initrd /mnt/initramfs
-chardev file,id=console,path=/dev/stderr -device isa-serial,chardev=console
-chardev stdio,id=output,signal=off -device isa-serial,chardev=output -append"""

APPEND = "console=ttyS0 panic=-1 reboot=t no_timer_check mitigations=off random.trust_cpu=on "
"""What every kernel is given; its console is the first serial line."""

# tsc=unstable: the kernel measures the TSC at its boot, and on a busy machine so wrongly that the guest's clock runs at
# a multiple of the real one. It takes the HPET's instead.
_APPEND = APPEND + "loglevel=4 rdinit=/vm/init tsc=unstable nokaslr audit=0"


def qemu(append: str, *, memory: int, emulation: str = "-accel tcg,thread=multi") -> list[str]:
    """Emulation, even where /dev/kvm opens: that may be of a kind that boots no stock kernel, and then hangs."""
    return [*_QEMU.format(memory=memory, emulation=emulation).split(), append]
