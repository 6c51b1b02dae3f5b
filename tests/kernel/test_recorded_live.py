"""An engine that was killed between its umount and its writing it down: its record says "in use" for ever."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from mountwarden.config.schema import Config, PolicyEntry
from mountwarden.engines import containers_storage
from mountwarden.kernel import abi, syscalls
from mountwarden.model import Action, Evidence, Finding, Kind, Policy, Severity
from mountwarden.observe import container_processes
from mountwarden.observe.enter import own_namespace
from mountwarden.remedies import apply
from mountwarden.remedies.plan import plan
from mountwarden.scan.scanner import Scanner

from tests.kernel.topology import Home
from tests.support.scratch_ns import hold, overlay

CONFIG = Config(engines=(containers_storage.ENGINE,))
STORE = Path("/mnt/store")
LAYER = STORE / "overlay/L"
MERGED = bytes(LAYER / "merged")
CONTAINER = "ab" * 32


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))


def count(mounts: int) -> None:
    write(Path("/mnt/run/overlay-layers/mountpoints.json"), [{"id": "L", "path": MERGED.decode(), "count": mounts}])


def store() -> None:
    """A store of podman with one container, whose layer is mounted."""
    containers_storage.CONFIG_FILES = (b"/mnt/storage.conf",)
    containers_storage.DROP_INS = ()
    container_processes.PERIOD = 0.0
    write(Path("/mnt/storage.conf"), f'[storage]\ndriver = "overlay"\ngraphroot = "{STORE}"\nrunroot = "/mnt/run"\n')
    write(STORE / "overlay-layers/layers.json", [{"id": "L"}])
    write(STORE / "overlay-containers/containers.json", [{"id": CONTAINER, "layer": "L"}])
    count(1)
    overlay(bytes(LAYER))


def leaked(scanner: Scanner) -> list[Finding]:
    return [finding for finding in scanner.scan(resync=True).findings if finding.kind is Kind.LEAKED]


def test_it_is_told_once_nothing_of_the_container_lives_and_no_action_is_taken(home: Home) -> None:
    def run() -> None:
        store()
        scanner = Scanner(CONFIG, home=own_namespace())
        with hold() as holder:
            assert leaked(scanner) == []
            with subprocess.Popen(["sh", "-c", "read line", CONTAINER], stdin=subprocess.PIPE) as monitor:
                syscalls.umount(MERGED)
                assert leaked(scanner) == [], "as conmon does, it has the container's id in its command line"
                monitor.communicate()
            (finding,) = leaked(scanner)
            assert (finding.severity, finding.evidence) == (Severity.INFO, Evidence.HISTORY)
            assert "record still says" in finding.detail
            detach = next(remedy for remedy in plan(finding, CONFIG).remedies if remedy.action is Action.DETACH)
            assert (detach.automatic, detach.command) == (False, None)
            assert "podman umount" in detach.reason
            outcome = apply.carry_out(finding, scanner, Action.DETACH)
            assert (outcome.done, outcome.code) == (False, "live")
            assert "podman umount" in outcome.text
            count(0)  # as podman umount leaves it
            (finding,) = leaked(scanner)
            assert finding.severity is Severity.WARNING
            assert apply.carry_out(finding, scanner, Action.DETACH).done
            assert not holder.is_mounted(MERGED)

    home.run(run)


def test_no_policy_makes_it_automatic(home: Home) -> None:
    def run() -> None:
        store()
        scanner = Scanner(CONFIG, home=own_namespace())
        with hold():
            leaked(scanner)
            syscalls.umount(MERGED)
            (finding,) = leaked(scanner)
            allowed = Config(engines=CONFIG.engines, policies=(PolicyEntry(action=Action.DETACH, policy=Policy.AUTO),))
            assert not any(remedy.automatic for remedy in plan(finding, allowed).remedies)

    home.run(run)


@pytest.mark.parametrize("owners", [0, 2])
def test_a_layer_that_is_not_one_container_s_is_not_told(home: Home, owners: int) -> None:
    """podman image mount: nothing lives of what is in use."""

    def run() -> None:
        store()
        several = [{"id": f"{number}b" * 32, "layer": "L"} for number in range(owners)]
        write(STORE / "overlay-containers/containers.json", several)
        scanner = Scanner(CONFIG, home=own_namespace())
        with hold():
            assert leaked(scanner) == []
            syscalls.umount(MERGED)
            assert leaked(scanner) == []

    home.run(run)


def test_a_container_that_lives_in_its_layer_is_not_told(home: Home) -> None:
    """With --cgroups=disabled no control group names it; its own root does."""

    def run() -> None:
        store()
        scanner = Scanner(CONFIG, home=own_namespace())
        with hold() as holder, hold() as container:
            container.run(move_to_root)
            assert leaked(scanner) == []
            syscalls.umount(MERGED)
            found = leaked(scanner)
            assert container.inode not in {inode for finding in found for inode in finding.namespaces}
            assert holder.inode not in {inode for finding in found for inode in finding.namespaces}

    home.run(run)


def move_to_root() -> None:
    os.chdir(MERGED)
    syscalls.mount(b".", b"/", None, abi.MS_MOVE)
