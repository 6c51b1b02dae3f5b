"""kubelet's root directories, by the processes of each distribution and by the places that they use."""

import os
from pathlib import Path

import pytest
from mountwarden.engines import kubelet
from mountwarden.engines.sources import Host
from mountwarden.mounts.roots import match_layout
from mountwarden.observe.processes import Daemon

from tests.unit.engines.trees import CONFIG, daemon, host, paths, write


@pytest.fixture(autouse=True)
def _defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads this machine's own kubelet."""
    monkeypatch.setattr(kubelet, "ROOT_DIR", os.fsencode(tmp_path / "lib/kubelet"))
    monkeypatch.setattr(kubelet, "_SNAP_COMMON", os.fsencode(tmp_path / "snap/common"))
    monkeypatch.setattr(kubelet, "USUAL", tuple(os.fsencode(tmp_path / name) for name in ("lib/kubelet", "k0s", "m")))
    (tmp_path / "lib/kubelet").mkdir(parents=True)


def found(where: Host) -> list[Path]:
    return paths(kubelet.roots(where, CONFIG))


def test_kubelet_k0s_and_rke2_name_it_themselves(tmp_path: Path) -> None:
    (tmp_path / "k0s").mkdir()
    assert found(host(daemon("kubelet"))) == [tmp_path / "lib/kubelet"]
    assert found(host(daemon("kubelet", f"--root-dir={tmp_path}/k0s"))) == [tmp_path / "k0s"]
    assert found(host(daemon("kubelet", f"--root-dir={tmp_path}/absent"))) == []


def test_where_none_runs_all_usual_places_count(tmp_path: Path) -> None:
    (tmp_path / "k0s").mkdir()
    (tmp_path / "m").symlink_to("lib/kubelet")
    assert found(host()) == [tmp_path / "lib/kubelet", tmp_path / "k0s"]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ("--kubeconfig=x\n--root-dir=${SNAP_COMMON}/var/lib/kubelet\n", "snap/common/var/lib/kubelet"),
        ('--root-dir="$SNAP_COMMON/kubelet"\n', "snap/common/kubelet"),
        ("--root-dir ${SNAP_DATA}/kubelet\n", "snap/7/kubelet"),
    ],
)
def test_kubelite_has_the_arguments_in_a_file(tmp_path: Path, arguments: str, name: str) -> None:
    (tmp_path / name).mkdir(parents=True)
    file = write(tmp_path / "snap/7/args/kubelet", arguments)
    assert found(host(daemon("kubelite", f"--kubelet-args-file={file}"))) == [tmp_path / name]


@pytest.mark.parametrize(
    ("running", "is_node"),
    [
        (daemon("k3s-server", "server"), True),
        (daemon("k3s-agent", "agent"), True),
        (daemon("k3s", "server", "--docker"), True),
        (daemon("k3s", "kubectl", "get", "nodes"), False),
        (daemon("k3s", "etcd-snapshot"), False),
    ],
)
def test_k3s_has_a_kubelet_in_it(tmp_path: Path, running: Daemon, is_node: bool) -> None:
    assert found(host(running)) == ([tmp_path / "lib/kubelet"] if is_node else [])


def test_k3s_takes_many_arguments_for_kubelet(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    given = ("--kubelet-arg", "v=2", f"--kubelet-arg=root-dir={tmp_path}/x", "--kubelet-arg=max-pods=9")
    assert found(host(daemon("k3s-server", "server", *given))) == [tmp_path / "x"]


@pytest.mark.parametrize(
    "rel",
    [
        b"pods/U/volumes/kubernetes.io~csi/pv1/mount",
        b"pods/U/volumes/kubernetes.io~secret/s",
        b"pods/U/volume-subpaths/v/c/0",
        b"plugins/ceph/globalmount",
        b"plugins/kubernetes.io/csi/pv/pv1/globalmount",
        b"plugins/kubernetes.io/csi/ebs.csi.aws.com/0a/globalmount",
        b"plugins/kubernetes.io/rbd/mounts/image",
    ],
)
def test_each_kind_of_volume_is_in_the_layout(rel: bytes) -> None:
    assert any(match_layout(layout, rel) is not None for layout in kubelet.LAYOUTS)
