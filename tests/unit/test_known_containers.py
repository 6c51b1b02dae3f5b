"""Containers by their engines' own files: trees of their shapes, and which one a name means."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest
from mountwarden.busy import bundles, containers, instances, stores, user_stores
from mountwarden.busy.answer import BusyReport, BusyTarget
from mountwarden.busy.known_containers import KnownContainer, chosen
from mountwarden.cli.who import text
from mountwarden.errors import MountwardenError
from mountwarden.model import Root, RootKind
from mountwarden.observe.accounts import Account, accounts
from mountwarden.observe.apart import apart

A, B, C = ("0123456789abcdef" * 4, "0123fedcba987654" * 4, "ffff456789abcdef" * 4)


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def docker(root: Path) -> None:
    """One with a layer of overlay2, and one of containerd's image store."""
    write(root / f"containers/{A}/config.v2.json", {"Name": "/web", "Driver": "overlay2"})
    write(root / f"image/overlay2/layerdb/mounts/{A}/mount-id", "layer1\n")
    write(root / f"containers/{B}/config.v2.json", {"Name": "/db", "Driver": "overlayfs"})
    write(root / f"containers/{C}/config.v2.json", {"Name": "/x", "Driver": "../../etc"})


def podman(root: Path) -> None:
    """One that is kept, and one of `podman run --rm`."""
    write(root / "overlay-containers/containers.json", [{"id": A, "layer": "l1", "names": ["web"]}, {"id": 7}])
    write(root / "overlay-containers/volatile-containers.json", [{"id": B, "layer": "l2", "names": ["db"]}])
    for layer in ("l1", "l2"):
        (root / "overlay" / layer).mkdir(parents=True)


def cri(name: str | None, pod: str, kind: str = "container") -> dict[str, str]:
    prefix = "io.kubernetes.cri."
    found = {f"{prefix}container-type": kind, f"{prefix}sandbox-name": pod}
    return found | ({f"{prefix}container-name": name} if name else {})


def bundle(state: Path, namespace: str, identity: str, annotations: dict[str, Any] | None) -> None:
    spec = {} if annotations is None else {"annotations": annotations}
    write(state / f"io.containerd.runtime.v2.task/{namespace}/{identity}/config.json", spec)


def names(found: Any) -> dict[str, str]:
    return {name: one.layer for one in found for name in (one.names or (one.id,))}


def test_docker_with_either_store(tmp_path: Path) -> None:
    docker(tmp_path)
    found = names(stores.docker(str(tmp_path)))
    assert found == {"web": f"{tmp_path}/overlay2/layer1", "db": f"{tmp_path}/rootfs/overlayfs/{B}"}


def test_podman_with_what_is_removed_when_it_ends(tmp_path: Path) -> None:
    podman(tmp_path)
    assert names(stores.podman(str(tmp_path))) == {"web": f"{tmp_path}/overlay/l1", "db": f"{tmp_path}/overlay/l2"}


@pytest.mark.parametrize("layer", ["../../etc", "a/b", ".", "..", "", "a\0b"])
def test_a_layer_that_is_no_name_is_none(tmp_path: Path, layer: str) -> None:
    write(tmp_path / "overlay-containers/containers.json", [{"id": A, "layer": layer, "names": ["web"]}])
    assert names(stores.podman(str(tmp_path))) == {}


def test_containerds_tasks_by_cri_nerdctl_and_ctr(tmp_path: Path) -> None:
    bundle(tmp_path, "k8s.io", A, cri("nginx", "web-7"))
    bundle(tmp_path, "k8s.io", B, cri(None, "web-7", "sandbox"))
    bundle(tmp_path, "default", C, {"nerdctl/name": "hello", "other": 7})
    bundle(tmp_path, "default", "plain", None)
    found = {one.id: one for one in bundles.containerd(str(tmp_path))}
    task = f"{tmp_path}/io.containerd.runtime.v2.task"
    assert (found[A].names, found[A].pod, found[A].layer) == (("nginx",), "web-7", f"{task}/k8s.io/{A}/rootfs")
    assert (found[B].names, found[B].is_sandbox) == (("web-7",), True)
    assert (found[C].engine, found[C].names) == ("nerdctl", ("hello",))
    assert (found["plain"].names, found["plain"].layer) == ((), f"{task}/default/plain/rootfs")


def crio(tmp_path: Path) -> Root:
    """A store of root with a pod of CRI-O: its sandbox and a container."""
    graph, run = tmp_path / "graph", tmp_path / "run"
    listed = [
        {"id": A, "layer": "l1", "names": ["k8s_POD_web-7_default_u_0"]},
        {"id": B, "layer": "l2", "names": ["k8s_nginx_web-7_default_u_0"]},
    ]
    write(graph / "overlay-containers/containers.json", listed)
    own = "io.kubernetes.cri-o."
    sandbox = {f"{own}ContainerType": "sandbox", f"{own}KubeName": "web-7"}
    container = {
        f"{own}ContainerType": "container",
        f"{own}Metadata": json.dumps({"name": "nginx"}),
        "io.kubernetes.pod.name": "web-7",
    }
    write(run / f"overlay-containers/{A}/userdata/config.json", {"annotations": sandbox})
    write(run / f"overlay-containers/{B}/userdata/config.json", {"annotations": container})
    record = (f"{run}/overlay-layers/mountpoints.json", f"{graph}/overlay-layers/layers.json")
    return root("containers-storage", graph, record)


def root(engine: str, path: Path, record: tuple[str, ...] = ()) -> Root:
    return Root(str(path).encode(), engine, RootKind.GRAPH, (), home=None, record=record)


def test_cri_os_containers_and_pods(tmp_path: Path) -> None:
    roots = [crio(tmp_path)]
    container, gaps = containers.find("nginx", roots)
    pod, _ = containers.find("web-7", roots)
    assert gaps == ()
    assert container is not None
    assert pod is not None
    assert (container.id, container.engine, container.pod) == (B, "CRI-O", "web-7")
    assert (pod.id, pod.is_sandbox) == (A, True)
    assert containers.find("k8s_nginx_web-7_default_u_0", roots)[0] == container


def test_instances_of_a_project_and_virtual_machines(tmp_path: Path) -> None:
    for path in ("default/containers/web", "zfs/virtual-machines/shop_db"):
        (tmp_path / "storage-pools" / path).mkdir(parents=True)
    found = {one.id: one for one in instances.instances(str(tmp_path), "Incus")}
    assert (found["web"].names, found["web"].layer) == ((), f"{tmp_path}/storage-pools/default/containers/web")
    assert found["shop_db"].names == ("db",)
    volumes = dataclasses.replace(root("incus", tmp_path), kind=RootKind.VOLUME)
    assert containers.find("db", [volumes])[0] == found["shop_db"]


def known(identity: str, *names: str, **other: Any) -> KnownContainer:
    return KnownContainer("containerd, CRI", identity, names, None, **other)


def test_a_name_an_id_or_the_beginning_of_one() -> None:
    every = (known(A, "web"), known(B, "db"), known(C, "0123"))
    assert chosen("web", every) == every[0]
    assert chosen(B, every) == every[1]
    assert chosen("ffff", every) == every[2]
    assert chosen("0123", every) == every[2], "a name is meant before a beginning"
    assert chosen("01234", every) == every[0]
    assert chosen("fff", every) is None, "too short"
    assert chosen("nobody", every) is None


def test_what_means_several_is_refused_and_all_are_named() -> None:
    every = (known(A, "nginx", pod="web-1"), known(B, "nginx", pod="web\x1b[2J"), known(C, "db"))
    with pytest.raises(MountwardenError) as refused:
        chosen("nginx", every)
    assert f"container nginx of pod web-1 (containerd, CRI, {A[:12]})" in str(refused.value)
    assert "\x1b" not in str(refused.value)
    with pytest.raises(MountwardenError):
        chosen("0123", every)


def test_the_answer_begins_with_what_is_meant() -> None:
    one = known(A, "nginx", pod="web-1", user="ada\x1b[2J")
    told = text(BusyReport(BusyTarget("nginx", "0:55", meant=str(one)), ()), 200)
    meant = f"container nginx of pod web-1 (containerd, CRI of user ada\\x1b[2J, {A[:12]})"
    assert told == f"{meant}, device 0:55: kept busy by nothing\n"


def test_a_pods_one_container_of_its_name_is_meant() -> None:
    sandbox = known(A, "web", pod="web", is_sandbox=True)
    container, other = known(B, "web", pod="web"), known(C, "web", pod="other")
    assert chosen("web", (sandbox, container)) == container
    with pytest.raises(MountwardenError):
        chosen("web", (sandbox, other))


def test_dockers_record_says_more_than_its_containerd(tmp_path: Path) -> None:
    docker(tmp_path / "docker")
    bundle(tmp_path / "state", "moby", A, None)
    roots = [root("containerd", tmp_path / "state"), root("docker", tmp_path / "docker", ("kept",))]
    found, _ = containers.find(A, roots)
    assert found is not None
    assert found.engine == "Docker"


def test_a_root_of_another_namespace_is_left_out(tmp_path: Path) -> None:
    docker(tmp_path)
    one = root("docker", tmp_path, ("kept",))
    assert containers.find("web", [one])[0] is not None
    assert containers.find("web", [dataclasses.replace(one, home=7, home_pid=7)])[0] is None


USER = Account("ada\x1b[2J", 1000, b"/")


def of_user(home: Path) -> dict[str, KnownContainer]:
    user = Account(USER.name, USER.uid, os.fsencode(home))
    return {name: one for one in user_stores._of_user(user, {}) for name in one.names}


def give(path: Path) -> None:
    for one in (path, *path.rglob("*")):
        os.chown(one, USER.uid, USER.uid, follow_symlinks=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")
def test_a_users_podman_and_docker(tmp_path: Path) -> None:
    docker(tmp_path / ".local/share/docker")
    (tmp_path / ".local/share/docker/overlay2/layer1").mkdir(parents=True)
    store = tmp_path / "elsewhere"
    podman(store)
    write(tmp_path / ".config/containers/storage.conf", '[storage]\ngraphroot = "$HOME/elsewhere"\n')
    give(tmp_path)
    found = of_user(tmp_path)
    assert (found["web"].engine, found["web"].layer) == ("Docker", f"{tmp_path}/.local/share/docker/overlay2/layer1")
    assert found["db"].user == USER.name
    (one,) = [one for one in stores.podman(str(store)) if "web" in one.names]
    assert one.layer == f"{store}/overlay/l1"
    assert "\x1b" not in str(found["db"])


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")
def test_files_of_others_and_links_to_them_are_not_believed(tmp_path: Path) -> None:
    other, store = tmp_path / "other", tmp_path / "home/.local/share/containers/storage"
    podman(other)  # root's
    podman(store)
    (store / "overlay/l1").rmdir()
    (store / "overlay/l1").symlink_to("/etc")
    give(tmp_path / "home")
    found = of_user(tmp_path / "home")
    assert (found["web"].layer, found["db"].layer) == (None, f"{store}/overlay/l2")
    (store / "overlay-containers/containers.json").unlink()
    (store / "overlay-containers/containers.json").symlink_to(other / "overlay-containers/containers.json")
    assert of_user(tmp_path / "home").keys() == {"db"}
    os.mkfifo(tmp_path / "home/pipe")
    (store / "overlay-containers/volatile-containers.json").unlink()
    (store / "overlay-containers/volatile-containers.json").symlink_to(tmp_path / "home/pipe")
    assert of_user(tmp_path / "home") == {}


def test_who_hangs_is_left_out_and_named() -> None:
    def hangs() -> str:
        read_end, _write_end = os.pipe()
        return os.read(read_end, 1).decode()

    assert apart({"ada": lambda: "a", "eve": hangs, "joe": lambda: "j"}) == ({"ada": "a", "joe": "j"}, ("eve",))


def test_accounts_are_those_of_the_file(tmp_path: Path) -> None:
    write(
        tmp_path / "passwd",
        "root:x:0:0::/root:/bin/sh\nada:x:1000:1000::/home/ada:\nagain:x:1000:1::/x:\nbad:x:y:1::/:\n+::::::\n\xff\n",
    )
    assert accounts(str(tmp_path / "passwd")) == (Account("root", 0, b"/root"), Account("ada", 1000, b"/home/ada"))
    assert accounts(str(tmp_path / "none")) == ()
