"""Causes of real leaks in real units, each as its exact sentence."""

from collections.abc import Iterator

import pytest

from tests.support.causes import findings, leaks
from tests.support.machine import Machine
from tests.support.wait import wait_until

ROOT = "/var/lib/docker"
MAKE = f"""
set -e; mkdir -p {ROOT}/overlay2/X/lower {ROOT}/overlay2/X/diff {ROOT}/overlay2/X/work {ROOT}/overlay2/X/merged
cd {ROOT}/overlay2/X
mount -t overlay overlay -o lowerdir=lower,upperdir=diff,workdir=work merged
"""
MERGED = f"{ROOT}/overlay2/X/merged"


@pytest.fixture
def layer(host: Machine) -> Iterator[str]:
    """A live layer below a shared root; what is left of both is cleared afterwards."""
    host.run("sh", "-c", MAKE)
    yield MERGED
    host.run("umount", MERGED, check=False)
    host.run("rm", "-rf", f"{ROOT}/overlay2")
    host.run("mount", "--make-shared", ROOT)


def service(host: Machine, name: str, *lines: str, **drop_ins: str) -> str:
    """A service from a unit file, started; `drop_ins` are texts of files below NAME.service.d."""
    text = "[Service]\nExecStart=/bin/sleep infinity\nType=exec\n" + "".join(f"{line}\n" for line in lines)
    host.write(f"/etc/systemd/system/{name}.service", text)
    for file, drop_in in drop_ins.items():
        host.write(f"/etc/systemd/system/{name}.service.d/{file}.conf", drop_in)
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "start", name)
    return f"{name}.service"


def only(found: list[dict[str, object]]) -> dict[str, object]:
    assert len(found) == 1, found
    assert found[0]["gaps"] == []
    assert found[0]["imported"] is False, "pystemd belongs in the child"
    return found[0]


def started(host: Machine, unit: str) -> str:
    """When its main process started, as a sentence has it."""
    micros = host.run("systemctl", "show", "--timestamp=unix", "--value", "-p", "ExecMainStartTimestamp", unit).stdout
    seconds = micros.strip().removeprefix("@")
    return host.run("date", "-u", "-d", f"@{seconds}", "+%Y-%m-%dT%H:%M:%SZ").stdout.strip()


def stop(host: Machine, *units: str) -> None:
    host.run("systemctl", "stop", *units)


def test_mount_flags_private_in_a_unit_file(host: Machine, layer: str) -> None:
    unit = service(host, "leaky-file", "PrivateTmp=yes", "MountFlags=private")
    host.run("umount", layer)
    finding = only(leaks(host, ROOT))
    pid = host.main_pid(unit)
    stop(host, unit)
    assert finding["holders"] == [[pid, "sleep", unit, None, 0]]
    assert finding["namespace_kind"] == "service"
    assert finding["code"] == "mount-flags"
    assert finding["text"] == (
        "leaky-file.service has MountFlags=private (/etc/systemd/system/leaky-file.service:5), "
        "so umounts on the host do not reach its mount namespace."
    )
    assert finding["fix"]["file"] == "/etc/systemd/system/leaky-file.service.d/90-propagation.conf"  # type: ignore[index]


def test_mount_flags_private_in_a_drop_in(host: Machine, layer: str) -> None:
    texts = {"10-tmp": "# ours\n[Service]\n\nPrivateTmp=yes\n", "20-flags": "[Service]\nMountFlags=\\\n private\n"}
    unit = service(host, "leaky-drop", "MountFlags=slave", **texts)
    host.run("umount", layer)
    finding = only(leaks(host, ROOT))
    stop(host, unit)
    assert finding["text"] == (
        "leaky-drop.service has MountFlags=private (/etc/systemd/system/leaky-drop.service.d/20-flags.conf:2), "
        "so umounts on the host do not reach its mount namespace."
    )


def test_mount_flags_private_from_systemd_run(host: Machine, layer: str) -> None:
    unit = host.unit("leaky-run", "PrivateTmp=yes", "MountFlags=private")
    host.run("umount", layer)
    finding = only(leaks(host, ROOT))
    stop(host, unit)
    assert finding["text"] == (
        "leaky-run.service has MountFlags=private (set when it was started as a transient unit), "
        "so umounts on the host do not reach its mount namespace."
    )
    assert finding["fix"]["text"] == (  # type: ignore[index]
        "Start leaky-run.service again without MountFlags=private; with MountFlags=slave umounts reach it."
    )


def test_the_fix_of_mount_flags_fixes_it(host: Machine, layer: str) -> None:
    unit = service(host, "leaky-fixed", "MountFlags=private")
    host.write(f"/etc/systemd/system/{unit}.d/90-propagation.conf", "[Service]\nMountFlags=slave\n")
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "restart", unit)
    host.run("umount", layer)
    assert leaks(host, ROOT) == []
    stop(host, unit)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("PrivateTmp", "yes"),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "read-only"),
        ("PrivateDevices", "yes"),
        ("PrivateMounts", "yes"),
        ("ProtectKernelTunables", "yes"),
        ("ProtectProc", "invisible"),
        ("ReadOnlyPaths", "/etc"),
        ("TemporaryFileSystem", "/opt"),
        ("BindPaths", "/etc:/mnt"),
        ("MountFlags", "slave"),
    ],
)
def test_a_root_that_was_private_when_the_unit_started(host: Machine, layer: str, setting: str, value: str) -> None:
    host.run("mount", "--make-private", ROOT)
    unit = service(host, "leaky-tmp", **{"10-one": f"[Service]\n# one\n{setting}={value}\n"})
    host.run("mount", "--make-shared", ROOT)
    host.run("umount", layer)
    finding = only(leaks(host, ROOT))
    when = started(host, unit)
    stop(host, unit)
    assert finding["code"] == "root-private"
    assert finding["text"] == (
        f"/var/lib/docker was private when leaky-tmp.service started at {when} or became private later, so no umount "
        f"there reaches its mount namespace ({setting}={value.partition(':')[0]}, "
        "/etc/systemd/system/leaky-tmp.service.d/10-one.conf:3)."
    )


def test_a_root_that_became_private_later_leaves_the_same_trace(host: Machine, layer: str) -> None:
    unit = host.unit("leaky-later", "PrivateTmp=yes")
    host.run("mount", "--make-private", ROOT)
    host.run("mount", "--make-shared", ROOT)
    host.run("umount", layer)
    finding = only(leaks(host, ROOT))
    when = started(host, unit)
    stop(host, unit)
    assert finding["text"] == (
        f"/var/lib/docker was private when leaky-later.service started at {when} or became private later, so no umount "
        "there reaches its mount namespace (PrivateTmp=yes, set when it was started as a transient unit)."
    )


def test_a_root_that_is_private(host: Machine, layer: str) -> None:
    host.run("mount", "--make-private", ROOT)
    unit = host.unit("leaky-now", "ProtectSystem=full", "PrivateTmp=yes")
    host.run("umount", layer)
    finding = only(leaks(host, ROOT))
    stop(host, unit)
    assert finding["text"] == (
        "/var/lib/docker is private on the host, so no umount there reaches the mount namespace of leaky-now.service "
        "(PrivateTmp=yes, set when it was started as a transient unit; "
        "ProtectSystem=full, set when it was started as a transient unit)."
    )


def test_dynamic_user_is_named_for_what_it_implies(host: Machine, layer: str) -> None:
    host.run("mount", "--make-private", ROOT)
    unit = service(host, "leaky-dynamic", "DynamicUser=yes")
    host.run("umount", layer)
    finding = only(leaks(host, ROOT))
    stop(host, unit)
    assert str(finding["text"]).endswith(
        "of leaky-dynamic.service (DynamicUser=yes, /etc/systemd/system/leaky-dynamic.service:4)."
    )


def test_a_mount_made_private_inside_the_unit(host: Machine, layer: str) -> None:
    unit = host.unit("leaky-inside", "PrivateTmp=yes")
    host.run("nsenter", "-t", str(host.main_pid(unit)), "-m", "mount", "--make-private", ROOT)
    host.run("umount", layer)
    finding = only(leaks(host, ROOT))
    stop(host, unit)
    assert finding["text"] == (
        "A process made /var/lib/docker private in the mount namespace of leaky-inside.service, "
        "so umounts on the host do not reach it there."
    )


def test_a_service_that_unshares_by_itself(host: Machine, layer: str) -> None:
    command = ("unshare", "--mount", "--propagation", "private", "sleep", "infinity")
    unit = host.unit("leaky-own", command=command)
    pid = host.main_pid(unit)
    wait_until(lambda: host.read(f"/proc/{pid}/comm").strip() == "sleep", what="unshare has executed sleep")
    host.run("umount", layer)
    finding = only(leaks(host, ROOT))
    stop(host, unit)
    assert finding["code"] == "own-namespace"
    assert finding["text"] == (
        f"Process {pid} (sleep) of leaky-own.service is in a mount namespace that none of its unit's settings made, in "
        "which /var/lib/docker has no master, so umounts on the host do not reach it."
    )


def test_settings_written_after_the_start_are_not_blamed(host: Machine, layer: str) -> None:
    host.run("mount", "--make-private", ROOT)
    unit = service(host, "leaky-late", "PrivateTmp=yes")
    host.run("mount", "--make-shared", ROOT)
    host.write(f"/etc/systemd/system/{unit}.d/10-late.conf", "[Service]\nMountFlags=private\n")
    host.run("systemctl", "daemon-reload")
    host.run("umount", layer)
    finding = only(leaks(host, ROOT))
    stop(host, unit)
    assert finding["text"] == (
        "The cause is not known: leaky-late.service has MountFlags=private, "
        "but / in its mount namespace is not private."
    )


def test_a_unit_name_with_escapes(host: Machine, layer: str) -> None:
    unit = host.unit(r"leaky\x2dodd@a\x20b", "MountFlags=private")
    host.run("umount", layer)
    finding = only(leaks(host, ROOT))
    stop(host, unit)
    assert str(finding["text"]).startswith(
        r"leaky\x2dodd@a\x20b.service has MountFlags=private (set when it was started as a transient unit), "
    )


def test_without_pystemd_the_unit_is_named_and_the_cause_is_not(host: Machine, layer: str) -> None:
    unit = host.unit("leaky-mute", "MountFlags=private")
    host.run("umount", layer)
    host.write("/usr/local/lib/mountwarden/pystemd.py", "raise ImportError('not here')\n")
    try:
        found = leaks(host, ROOT)
    finally:
        host.run("rm", "/usr/local/lib/mountwarden/pystemd.py")
        stop(host, unit)
    assert [(f["holders"][0][2], f["text"]) for f in found] == [
        (unit, "The cause is not known: PID 1 did not say how leaky-mute.service is set up.")
    ]
    assert found[0]["gaps"] == [["the settings of leaky-mute.service", "pystemd can't be imported: not here"]]


def test_a_private_root_has_no_holders(host: Machine, layer: str) -> None:
    host.run("mount", "--make-private", ROOT)
    [finding] = [found for found in findings(host, ROOT) if found["kind"] == "private-root"]
    assert finding["holders"] == []
    assert finding["text"] == (
        "The cause is not known: the kernel keeps no record of who made /var/lib/docker private."
    )
