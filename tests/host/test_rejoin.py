"""A severed service is made to follow home again, without a restart."""

import json
from collections.abc import Iterator

import pytest

from tests.support.leaks import CONFIG, ROOT, Leaks
from tests.support.machine import Machine


@pytest.fixture
def leaks(host: Machine) -> Iterator[Leaks]:
    """A shared root with one live layer."""
    made = Leaks(host)
    host.write("/etc/mountwarden/mountwarden.toml", CONFIG)
    made.prepare()
    host.run("mount", "--make-shared", ROOT)
    yield made
    made.clean()
    host.run("sh", "-c", f"for m in {ROOT}/*/merged; do umount -q $m; done; umount {ROOT}")


def severed(host: Machine, unit: str) -> dict[str, object]:
    told = json.loads(host.run("mountwarden", "--json", "--no-wait", check=False).stdout)
    (finding,) = (
        f for f in told["findings"] if f["kind"] == "severed" and f["copies"][0]["holders"][0]["unit"] == unit
    )
    return dict(finding)


def rejoin(host: Machine, finding: dict[str, object], *more: str) -> dict[str, object]:
    done = host.run("mountwarden", "rejoin", str(finding["id"]), "--yes", "--json", *more, check=False)
    assert done.stdout, done.stderr
    (outcome,) = json.loads(done.stdout)["outcomes"]
    assert (done.returncode == 0) == outcome["done"]
    return dict(outcome)


def mounts(host: Machine, unit: str) -> list[str]:
    text = host.read(f"/proc/{host.main_pid(unit)}/mountinfo")
    return [line.split(" ")[4] for line in text.splitlines()]


def start_private(leaks: Leaks, name: str, *properties: str) -> str:
    """A unit started while the root was private: it keeps a private copy."""
    leaks.host.run("mount", "--make-private", ROOT)
    unit = leaks.host.unit(name, *properties)
    leaks.units.add(unit)
    leaks.host.run("mount", "--make-shared", ROOT)
    return unit


@pytest.mark.parametrize(
    "properties", [("PrivateTmp=yes",), ("PrivateTmp=yes", "MountFlags=private")], ids=["private-root", "private-all"]
)
def test_umounts_and_mounts_at_home_reach_the_service_again(
    host: Machine, leaks: Leaks, properties: tuple[str, ...]
) -> None:
    old = leaks.mount()
    unit = start_private(leaks, "severed", *properties)
    pid = host.main_pid(unit)
    finding = severed(host, unit)
    (offered, *_) = finding["remedies"]  # type: ignore[misc]
    assert (offered["action"], offered["automatic"]) == ("rejoin", False)
    assert "EBUSY" in offered["reason"]
    outcome = rejoin(host, finding)
    assert outcome["done"], outcome
    assert f"{old}/merged" in mounts(host, unit)
    new = leaks.mount()
    assert f"{new}/merged" in mounts(host, unit), "a new mount at home appears"
    host.run("umount", f"{old}/merged")
    assert f"{old}/merged" not in mounts(host, unit), "an umount at home reaches it"
    assert host.main_pid(unit) == pid


def test_a_strict_unit_is_rejoined_only_when_it_is_named(host: Machine, leaks: Leaks) -> None:
    leaks.mount()
    unit = start_private(leaks, "severed-strict", "ProtectSystem=strict", f"ReadWritePaths={ROOT}")
    finding = severed(host, unit)
    assert rejoin(host, finding)["code"] == "strict"
    outcome = rejoin(host, finding, "--unit", unit)
    assert outcome["done"], outcome


def test_a_unit_with_a_root_of_its_own_is_rejoined_only_when_it_is_named(host: Machine, leaks: Leaks) -> None:
    leaks.mount()
    host.run("mkdir", "-p", "/opt/jail/usr", f"/opt/jail{ROOT}", "/opt/jail/proc", "/opt/jail/dev")
    host.run("sh", "-c", "cd /opt/jail; for n in bin lib lib64 sbin; do ln -sfn usr/$n $n; done")
    jail = ("RootDirectory=/opt/jail", "BindReadOnlyPaths=/usr", f"BindPaths={ROOT}")
    unit = start_private(leaks, "severed-jail", *jail)
    finding = severed(host, unit)
    assert rejoin(host, finding)["code"] == "own-root"
    outcome = rejoin(host, finding, "--unit", unit)
    assert outcome["done"], outcome


def test_a_user_namespace_is_declined(host: Machine, leaks: Leaks) -> None:
    leaks.mount()
    unit = start_private(leaks, "severed-user", "PrivateTmp=yes", "PrivateUsers=yes")
    assert rejoin(host, severed(host, unit))["code"] == "user-namespace"


def test_a_namespace_of_a_mere_process_is_declined(host: Machine, leaks: Leaks) -> None:
    leaks.mount()
    with host.popen("unshare", "--mount", "--propagation", "private", "sh", "-c", "echo; read x") as process:
        assert process.stdout is not None
        process.stdout.readline()
        told = json.loads(host.run("mountwarden", "--json", "--no-wait", check=False).stdout)
        (finding,) = (f for f in told["findings"] if f["kind"] == "severed")
        assert finding["copies"][0]["namespace"]["kind"] == "process"
        assert finding["remedies"][0]["command"] is None
        assert rejoin(host, finding)["code"] == "not-a-service"
        process.communicate(b"\n", timeout=10)


def test_without_yes_or_a_policy_it_is_not_done(host: Machine, leaks: Leaks) -> None:
    leaks.mount()
    unit = start_private(leaks, "severed-ask", "PrivateTmp=yes")
    finding = severed(host, unit)
    done = host.run("mountwarden", "rejoin", str(finding["id"]), check=False)
    assert (done.returncode, "--yes" in done.stderr) == (2, True)
    policy = f'\n[[policy]]\naction = "rejoin"\npolicy = "ask"\nunit = "{unit}"\n'
    host.write("/etc/mountwarden/mountwarden.toml", CONFIG + policy)
    assert host.run("mountwarden", "rejoin", str(finding["id"])).returncode == 0


def test_a_copy_whose_peer_group_others_are_in_is_declined(host: Machine, leaks: Leaks) -> None:
    leaks.mount()
    unit = start_private(leaks, "severed-peer", "PrivateTmp=yes")
    pid = str(host.main_pid(unit))
    peer = ("nsenter", "-t", pid, "-m", "unshare", "-m", "--propagation", "unchanged", "sh", "-c", "echo; read x")
    with host.popen(*peer) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert rejoin(host, severed(host, unit))["code"] == "member"
        process.communicate(b"\n", timeout=10)
    outcome = rejoin(host, severed(host, unit))
    assert outcome["done"], outcome
