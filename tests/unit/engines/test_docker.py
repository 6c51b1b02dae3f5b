"""Docker's roots by command line and daemon.json, and its record of layers."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mountwarden import engines
from mountwarden.engines import docker
from mountwarden.engines.sources import Host
from mountwarden.model import MountClass, RecordState, Root, RootKind

from tests.unit.engines.trees import (
    CONFIG,
    daemon,
    docker_container,
    docker_image,
    host,
    match,
    of_layout,
    paths,
    write,
)

LIVE, UNMOUNTED, UNKNOWN = RecordState.LIVE, RecordState.UNMOUNTED, RecordState.UNKNOWN


@pytest.fixture(autouse=True)
def _defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads this machine's own Docker."""
    monkeypatch.setattr(docker, "CONFIG_FILE", os.fsencode(tmp_path / "etc/daemon.json"))
    monkeypatch.setattr(docker, "DATA_ROOT", os.fsencode(tmp_path / "lib/docker"))
    monkeypatch.setattr(docker, "EXEC_ROOT", os.fsencode(tmp_path / "run/docker"))


def graph(where: Host) -> list[Root]:
    return of_layout(docker.roots(where, CONFIG), docker.GRAPH_LAYOUT)


def roots(where: Host) -> list[Path]:
    return paths(graph(where))


def test_flag_and_file_name_the_data_root(tmp_path: Path) -> None:
    for name in ("lib/docker", "a", "b", "c"):
        (tmp_path / name).mkdir(parents=True)
    assert roots(host(daemon("dockerd"))) == [tmp_path / "lib/docker"]
    assert roots(host(daemon("dockerd", "--data-root", tmp_path / "a"))) == [tmp_path / "a"]
    assert roots(host(daemon("dockerd", f"-g={tmp_path}/b"))) == [tmp_path / "b"]
    own = write(tmp_path / "own.json", f'{{"graph": "{tmp_path}/c"}}')
    assert roots(host(daemon("dockerd", f"--config-file={own}"))) == [tmp_path / "c"]
    write(tmp_path / "etc/daemon.json", f'{{"debug": true, "data-root": "{tmp_path}/b"}}')
    assert roots(host(daemon("dockerd"))) == [tmp_path / "b"]
    assert roots(host(daemon("dockerd", "-g", tmp_path / "a"), daemon("dockerd", pid=2**30))) == [
        tmp_path / "a",
        tmp_path / "b",
    ]


def test_a_running_daemon_gives_home_layout_and_record(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (root,) = graph(host(daemon("dockerd", "-g", tmp_path / "link")))
    assert root.path == os.fsencode(tmp_path / "real")
    assert (root.engine, root.kind, root.home, root.home_known, root.home_pid) == (
        "docker",
        RootKind.GRAPH,
        1,
        True,
        None,
    )
    assert {(each.pattern, each.fstype, each.mount_class) for each in root.layout} >= {
        (b"overlay2/*/merged", "overlay", MountClass.LAYER),
        (b"overlay/*/merged", "overlay", MountClass.LAYER),
        (b"containers/*/mounts/shm", "tmpfs", MountClass.SHM),
    }
    assert root.rmdir_on_put
    assert not root.wants_private


def test_a_data_root_appears_with_its_directory(tmp_path: Path) -> None:
    where = host(daemon("dockerd", "-g", tmp_path / "a"))
    assert roots(where) == []
    (tmp_path / "a").mkdir()
    assert roots(where) == [tmp_path / "a"]
    (tmp_path / "a").rmdir()
    write(tmp_path / "a", "a file")
    assert roots(where) == []


def test_remapped_user_namespaces_have_roots_of_their_own(tmp_path: Path) -> None:
    for name in ("lib/docker/100000.100000/overlay2", "lib/docker/overlay2", "lib/docker/1.x"):
        (tmp_path / name).mkdir(parents=True)
    assert roots(host(daemon("dockerd"))) == [tmp_path / "lib/docker", tmp_path / "lib/docker/100000.100000"]
    (tmp_path / "lib/docker/7.8").mkdir()
    assert tmp_path / "lib/docker/7.8" in roots(host(daemon("dockerd")))


def test_without_a_daemon_the_configured_root_has_no_known_home(tmp_path: Path) -> None:
    where = host()
    assert graph(where) == []
    (tmp_path / "lib/docker").mkdir(parents=True)
    (root,) = graph(where)
    assert (root.home, root.home_known, root.home_pid) == (None, False, None)
    (tmp_path / "a").mkdir()
    where.update((daemon("dockerd", "-g", tmp_path / "a"),))
    assert roots(where) == [tmp_path / "a"]
    where.update(())
    stopped = graph(where)
    assert paths(stopped) == [tmp_path / "a", tmp_path / "lib/docker"]
    assert not any(root.home_known for root in stopped)


def test_one_of_two_daemons_ended(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    one, two = daemon("dockerd", "-g", tmp_path / "a"), daemon("dockerd", "-g", tmp_path / "b", pid=2**30)
    where = host(one, two)
    assert roots(where) == [tmp_path / "a", tmp_path / "b"]
    where.update((two,))
    found = {root.path: root.home_known for root in docker.roots(where, CONFIG)}
    a, b = os.fsencode(tmp_path / "a"), os.fsencode(tmp_path / "b")
    parts = (b"", b"/volumes", b"/buildkit", b"/tmp")
    assert found == {b + one: True for one in parts} | {a + one: False for one in parts}
    later = host(two)
    later.remember(where.remembered())
    assert roots(later) == [tmp_path / "b", tmp_path / "a"], "by the next run of the service too"
    later.update((one, two))
    assert {root.path: root.home_known for root in graph(later)} == {a: True, b: True}, "it runs again"
    later.update((two,))
    (tmp_path / "a").rmdir()
    assert roots(later) == [tmp_path / "b"]
    (tmp_path / "a").mkdir()
    assert roots(later) == [tmp_path / "b"], "another directory"


def test_what_a_daemon_holds_open_beats_a_file_that_changed_since(tmp_path: Path) -> None:
    write(tmp_path / "old/volumes/metadata.db", "")
    (tmp_path / "new").mkdir()
    write(tmp_path / "etc/daemon.json", f'{{"data-root": "{tmp_path}/new"}}')
    with open(tmp_path / "old/volumes/metadata.db", "rb"):
        assert roots(host(daemon("dockerd", pid=os.getpid()))) == [tmp_path / "old"]
    write(tmp_path / "old/1.2/volumes/metadata.db", "")
    with open(tmp_path / "old/1.2/volumes/metadata.db", "rb"):
        assert roots(host(daemon("dockerd", pid=os.getpid()))) == [tmp_path / "old", tmp_path / "old/1.2"]
    assert roots(host(daemon("dockerd", pid=os.getpid()))) == [tmp_path / "new"]


def test_a_torn_file_is_a_gap_and_the_flag_still_counts(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    file = write(tmp_path / "etc/daemon.json", '{"data-root": "')
    where = host(daemon("dockerd"), daemon("dockerd", "-g", tmp_path / "a", pid=2**30))
    found, gaps = engines.discover(where, CONFIG)
    assert tmp_path / "a" in paths(found)
    assert [gap.what for gap in gaps] == [f"docker's {file}"]
    assert gaps[0].reason.startswith("JSONDecodeError: ")


def test_netns_and_volume_roots(tmp_path: Path) -> None:
    for name in ("lib/docker", "run/docker/netns", "x/netns"):
        (tmp_path / name).mkdir(parents=True)
    where = host(daemon("dockerd"), daemon("dockerd", f"--exec-root={tmp_path}/x", pid=2**30))
    found = of_layout(docker.roots(where, CONFIG), docker.NETNS_LAYOUT)
    assert paths(found) == [tmp_path / "run/docker/netns", tmp_path / "x/netns"]
    assert {(root.kind, root.layout[0].is_file, root.layout[0].fstype) for root in found} == {
        (RootKind.NETNS, True, "nsfs")
    }
    volumes, _ = of_layout(docker.roots(where, CONFIG), docker.VOLUME_LAYOUT)
    assert (volumes.path, volumes.kind) == (os.fsencode(tmp_path / "lib/docker/volumes"), RootKind.VOLUME)
    assert volumes.record == ()


class TestRecord:
    """States of spots below a data-root."""

    @pytest.fixture
    def data_root(self, tmp_path: Path) -> Path:
        (tmp_path / "lib/docker").mkdir(parents=True)
        return tmp_path / "lib/docker"

    def state(self, rel: str) -> RecordState:
        where = host(daemon("dockerd"))
        (root,) = graph(where)
        return engines.record(where, match(root, rel.encode()))

    def test_running_containers_are_live(self, data_root: Path) -> None:
        docker_container(data_root, "c1", "l1", Running=True, Pid=216)
        docker_container(data_root, "c2", "l2", Running=True, Paused=True, Pid=375)
        docker_container(data_root, "c3", "l3", Restarting=True)
        for layer in ("l1", "l1-init", "l2", "l3"):
            assert self.state(f"overlay2/{layer}/merged") is LIVE
        assert self.state("containers/c1/mounts/shm") is LIVE
        assert self.state("rootfs/overlayfs/c1") is LIVE

    def test_containers_that_do_not_run_are_unmounted(self, data_root: Path) -> None:
        docker_container(data_root, "c1", "l1")
        docker_container(data_root, "c2", "l2", Dead=True)
        for rel in ("overlay2/l1/merged", "overlay2/l2-init/merged", "containers/c1/mounts/shm", "containers/c1/shm"):
            assert self.state(rel) is UNMOUNTED

    def test_a_change_of_state_is_seen_at_once(self, data_root: Path) -> None:
        docker_container(data_root, "c1", "l1")
        assert self.state("overlay2/l1/merged") is UNMOUNTED
        docker_container(data_root, "c1", "l1", Running=True)
        assert self.state("overlay2/l1/merged") is LIVE
        assert self.state("overlay2/l2/merged") is UNKNOWN
        docker_container(data_root, "c2", "l2")
        assert self.state("overlay2/l2/merged") is UNMOUNTED

    def test_image_layers_are_unmounted_and_strangers_unknown(self, data_root: Path) -> None:
        docker_image(data_root, "9b225e47e7b6", "i1")
        assert self.state("overlay2/i1/merged") is UNMOUNTED
        assert self.state("overlay2/x/merged") is UNKNOWN
        assert self.state("overlay/i1/merged") is UNKNOWN
        assert self.state("elsewhere/i1") is UNKNOWN
        assert self.state("containers/x/mounts/shm") is UNKNOWN

    def test_a_build_has_a_layer_but_no_container(self, data_root: Path) -> None:
        write(data_root / "image/overlay2/layerdb/mounts/b1/mount-id", "l1")
        assert self.state("overlay2/l1/merged") is UNKNOWN

    @pytest.mark.parametrize(
        "text",
        [
            *("", "{", "[]", "null", "{}", "[" * 100_000),
            *('{"State": 3}', '{"State": {"Running": false}}', '{"State": {"Running": "no"}}'),
        ],
    )
    def test_what_is_torn_is_unknown(self, data_root: Path, text: str) -> None:
        docker_container(data_root, "c1", "l1")
        write(data_root / "containers/c1/config.v2.json", text)
        assert self.state("overlay2/l1/merged") is UNKNOWN

    def test_a_mount_id_that_is_not_yet_written_is_unknown(self, data_root: Path) -> None:
        docker_container(data_root, "c1", "l1")
        write(data_root / "image/overlay2/layerdb/mounts/c1/mount-id", "")
        assert self.state("overlay2/l1/merged") is UNKNOWN
        assert self.state("overlay2//merged") is UNKNOWN
        assert self.state("overlay2/l1-init/merged") is UNMOUNTED
        write(data_root / "image/overlay2/layerdb/mounts/c1/mount-id", "l1")
        assert self.state("overlay2/l1/merged") is UNMOUNTED


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("docker")


@given(data=st.binary(max_size=60) | st.sampled_from([b'{"data-root": "\\ud800"}', b'{"data-root": "/a\\u0000"}']))
def test_any_daemon_json_gives_roots_or_a_gap(scratch: Path, data: bytes) -> None:
    file = write(scratch / "daemon.json", data)
    where = host(daemon("dockerd", "--config-file", file))
    docker.roots(where, CONFIG)
    assert all(gap.what == f"docker's {file}" for gap in where.take_gaps())


@given(data=st.binary(max_size=60), word=st.binary(max_size=20))
def test_any_record_is_a_state(scratch: Path, data: bytes, word: bytes) -> None:
    write(scratch / "r/containers/c/config.v2.json", data)
    write(scratch / "r/image/overlay2/layerdb/mounts/c/mount-id", b"l")
    write(scratch / "r/image/overlay2/layerdb/mounts/d/mount-id", word)
    root = Root(os.fsencode(scratch / "r"), "docker", RootKind.GRAPH, (), None, record=("x",))
    rels = [b"overlay2/l/merged", b"overlay2/" + word + b"/merged", b"containers/" + word.strip(b"/") + b"/shm"]
    for state in engines.records(host(), [match(root, rel) for rel in rels]):
        assert state in RecordState


def test_the_container_of_a_mountpoint(tmp_path: Path) -> None:
    one = "ab" * 32
    docker_container(tmp_path, one, "l1")
    docker_container(tmp_path, "short", "l2")
    docker_image(tmp_path, "chain", "l3")
    root = docker._root(os.fsencode(tmp_path), RootKind.GRAPH, docker.GRAPH_LAYOUT, None)
    rels = (b"overlay2/l1/merged", b"overlay2/l1-init/merged", b"containers/%b/mounts/shm" % one.encode())
    assert [engines.container(match(root, rel)) for rel in rels] == [one, one, one]
    unknown = (b"overlay2/l2/merged", b"overlay2/l3/merged", b"overlay2/l4/merged", b"containers/x/shm", b"volumes/v")
    assert [engines.container(match(root, rel)) for rel in unknown] == [None] * 5
