"""Two daemons of one engine, one of which ends: its root is judged on, and nothing is done there automatically."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from mountwarden.config.schema import Config
from mountwarden.engines import containerd
from mountwarden.kernel import syscalls
from mountwarden.model import Evidence, Finding, Kind
from mountwarden.remedies.plan import plan
from mountwarden.scan import stored_history
from mountwarden.scan.scanner import Scanner
from mountwarden.scan.stored_history import StoredHistory

from tests.kernel import crash
from tests.support.scratch_ns import Sandbox, hold

pytestmark = pytest.mark.usefixtures("tier")

CONFIG = Config(engines=(containerd.ENGINE,))
DOCKERS, K3S = b"/mnt/docker", b"/mnt/k3s"
BUNDLE = K3S + b"/io.containerd.runtime.v2.task/k8s.io/c1"


@contextlib.contextmanager
def running(state: bytes) -> Iterator[None]:
    """A process that has containerd's name and options, for as long as its input is open."""
    shell, program = shutil.which("sh"), "/mnt/bin/containerd"
    assert shell
    os.makedirs("/mnt/bin", exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.symlink(shell, program)
    command = ["containerd", "-c", "read line", "--state", state]
    with subprocess.Popen(command, executable=program, stdin=subprocess.PIPE) as process:
        try:
            yield
        finally:
            process.kill()


def test_the_leak_of_the_one_that_ended_is_told_and_left_to_a_human() -> None:
    def run(_sandbox: Sandbox) -> None:
        kept: list[StoredHistory] = []
        for state in (DOCKERS, K3S):
            os.mkdir(state)
        for name in (b"/rootfs", b"/lower", b"/upper", b"/work"):
            os.makedirs(BUNDLE + name)
        options = b"lowerdir=%b/lower,upperdir=%b/upper,workdir=%b/work" % (BUNDLE, BUNDLE, BUNDLE)
        syscalls.mount(b"overlay", BUNDLE + b"/rootfs", b"overlay", 0, options)

        def leaked(scanner: Scanner) -> tuple[Finding, bool]:
            (finding,) = (one for one in scanner.scan(resync=True).findings if one.kind is Kind.LEAKED)
            return finding, any(remedy.automatic for remedy in plan(finding, CONFIG).remedies)

        with running(DOCKERS), contextlib.ExitStack() as k3s, hold():
            k3s.enter_context(running(K3S))
            scanner = Scanner(CONFIG, keep=kept.append)
            assert {state.root.path for state in scanner.scan().picture.roots} == {DOCKERS, K3S}
            syscalls.umount(BUNDLE + b"/rootfs")
            finding, automatic = leaked(scanner)
            assert (finding.evidence, automatic) == (Evidence.HISTORY, True)
            k3s.close()
            for again in range(2):
                finding, automatic = leaked(scanner)
                assert (finding.root.path, finding.evidence) == (K3S, Evidence.HISTORY)
                assert (finding.root.home_known, automatic) == (False, False), again
                saved, _why = stored_history.load(stored_history.dump(kept[-1], 1 << 24), kept[-1].boot_id)
                scanner = Scanner(CONFIG, history=saved, keep=kept.append)  # the service restarts
            with running(K3S):
                finding, automatic = leaked(scanner)
                assert (finding.root.home_known, automatic) == (True, True), "it runs again"

    crash.in_few_processes(run, 30)
