"""Cgroup paths as systemd and the engines write them: unit, user unit, container."""

import pytest
from mountwarden.systemd.cgroups import CgroupNames, place

ID = "1a2b3c4d5e6f" + "0" * 52
OTHER = "f" * 64

V1 = """12:pids:/system.slice/docker-{id}.scope
4:memory:/system.slice/docker-{id}.scope
1:name=systemd:/system.slice/docker-{id}.scope
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/system.slice/leaky.service", CgroupNames("leaky.service")),
        ("/system.slice/system-getty.slice/getty@tty1.service", CgroupNames("getty@tty1.service")),
        (
            r"/system.slice/systemd-fsck@dev-disk-by\x2duuid-1.service",
            CgroupNames(r"systemd-fsck@dev-disk-by\x2duuid-1.service"),
        ),
        ("/system.slice/_cpu.service", CgroupNames("cpu.service")),
        ("/system.slice/__odd.service", CgroupNames("_odd.service")),
        ("/system.slice/delegated.service/.control", CgroupNames("delegated.service")),
        ("/system.slice/gone.service (deleted)", CgroupNames("gone.service")),
        ("/init.scope", CgroupNames("init.scope")),
        ("/system.slice", CgroupNames("system.slice")),
        ("/", CgroupNames()),
        ("/../../system.slice/leaky.service", CgroupNames("leaky.service")),
        ("/../leaky.service", CgroupNames("leaky.service")),
        ("/user.slice/user-0.slice/session-3.scope", CgroupNames("session-3.scope")),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/app-x.slice/web.service",
            CgroupNames("user@1000.service", "web.service"),
        ),
        ("/user.slice/user-1000.slice/user@1000.service/init.scope", CgroupNames("user@1000.service", "init.scope")),
        # Engines with the systemd driver
        (f"/system.slice/docker-{ID}.scope", CgroupNames(f"docker-{ID}.scope", None, ID)),
        (f"/machine.slice/libpod-{ID}.scope/container", CgroupNames(f"libpod-{ID}.scope", None, ID)),
        (f"/machine.slice/libpod-conmon-{ID}.scope", CgroupNames(f"libpod-conmon-{ID}.scope")),
        (f"/system.slice/crio-conmon-{ID}.scope", CgroupNames(f"crio-conmon-{ID}.scope")),
        (
            f"/machine.slice/machine-libpod_pod_{OTHER}.slice/libpod-{ID}.scope",
            CgroupNames(f"libpod-{ID}.scope", None, ID),
        ),
        (
            f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/cri-containerd-{ID}.scope",
            CgroupNames(f"cri-containerd-{ID}.scope", None, ID),
        ),
        (f"/kubepods.slice/kubepods-pod1.slice/crio-{ID}.scope", CgroupNames(f"crio-{ID}.scope", None, ID)),
        (
            f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container",
            CgroupNames("user@1000.service", f"libpod-{ID}.scope", ID),
        ),
        (f"/system.slice/web.service/libpod-payload-{ID}", CgroupNames("web.service", None, ID)),
        # Engines with the cgroupfs driver
        (f"/docker/{ID}", CgroupNames(None, None, ID)),
        ("/docker/buildkit/x1", CgroupNames()),
        (f"/kubepods/besteffort/pod11-22/{ID}", CgroupNames(None, None, ID)),
        (f"/libpod_parent/libpod-{ID}", CgroupNames(None, None, ID)),
        ("/libpod_parent/conmon", CgroupNames()),
        (
            f"/system.slice/containerd.service/kubepods-besteffort-pod1.slice:cri-containerd:{ID}",
            CgroupNames("containerd.service", None, ID),
        ),
        # What runs inside a container names nothing of the host's
        (f"/system.slice/docker-{ID}.scope/system.slice/nginx.service", CgroupNames(f"docker-{ID}.scope", None, ID)),
        (f"/docker/{ID}/kubelet.slice/cri-containerd-{OTHER}.scope", CgroupNames(None, None, ID)),
        # Machines and LXC
        (
            "/machine.slice/machine-debian\\x2d12.scope/payload/system.slice/ssh.service",
            CgroupNames("machine-debian\\x2d12.scope", None, "debian-12"),
        ),
        ("/machine.slice/machine-box.scope/supervisor", CgroupNames("machine-box.scope")),
        (
            "/machine.slice/systemd-nspawn@box.service/payload/init.scope",
            CgroupNames("systemd-nspawn@box.service", None, "box"),
        ),
        ("/machine.slice/machine-qemu\\x2d1\\x2dvm.scope/libvirt", CgroupNames("machine-qemu\\x2d1\\x2dvm.scope")),
        ("/lxc/web/init", CgroupNames(None, None, "web")),
        ("/lxc.payload.web/init.scope", CgroupNames(None, None, "web")),
        ("/lxc.monitor.web", CgroupNames()),
        # No id, no unit
        (f"/system.slice/docker-{ID[:-1]}.scope", CgroupNames(f"docker-{ID[:-1]}.scope")),
        (f"/system.slice/docker-{ID}.service", CgroupNames(f"docker-{ID}.service")),
        ("/system.slice/\x1b[31mred.service", CgroupNames("system.slice")),
        ("/default/c1", CgroupNames()),
    ],
)
def test_path(path: str, expected: CgroupNames) -> None:
    assert place(f"0::{path}\n".encode()) == expected


def test_v1_names_the_unit_by_systemds_own_hierarchy() -> None:
    text = "4:memory:/user.slice\n1:name=systemd:/system.slice/leaky.service\n"
    assert place(text.encode()) == CgroupNames("leaky.service")


def test_v1_container() -> None:
    assert place(V1.format(id=ID).encode()) == CgroupNames(f"docker-{ID}.scope", None, ID)


def test_v1_cgroupfs_driver_puts_the_container_in_every_hierarchy() -> None:
    assert place(f"4:memory:/docker/{ID}\n1:name=systemd:/docker/{ID}\n".encode()) == CgroupNames(None, None, ID)


def test_hybrid_prefers_systemds_hierarchy() -> None:
    text = "1:name=systemd:/system.slice/a.service\n0::/system.slice/b.service\n"
    assert place(text.encode()).unit == "a.service"


def test_v1_hierarchies_that_nobody_uses_say_nothing() -> None:
    text = "9:name=systemd:/\n8:pids:/\n1:cpu:/\n0::/system.slice/leaky.service\n"
    assert place(text.encode()) == CgroupNames("leaky.service")


@pytest.mark.parametrize("text", [b"", b"\n", b"0", b"0:", b"0::", b"0::relative", b"\xff\xfe\n\x00", b"::::::\n"])
def test_garbage_says_nothing(text: bytes) -> None:
    assert place(text) == CgroupNames()


def test_undecodable_name_is_kept() -> None:
    assert place(b"0::/lxc/\xff\xfe\n").container == "\udcff\udcfe"
