"""The stores of podman, buildah and CRI-O by their configuration, and their record of mounted layers."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mountwarden import engines
from mountwarden.engines import containers_storage
from mountwarden.model import RecordState, Root, RootKind

from tests.unit.engines.trees import CONFIG, LAYERS, MOUNTED, daemon, host, match, write

LIVE, UNMOUNTED, UNKNOWN = RecordState.LIVE, RecordState.UNMOUNTED, RecordState.UNKNOWN


@pytest.fixture(autouse=True)
def _defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads this machine's own stores."""
    base = os.fsencode(tmp_path)
    for name in ("CONFIG_FILES", "DROP_INS"):
        moved = tuple(base + path for path in getattr(containers_storage, name))
        monkeypatch.setattr(containers_storage, name, moved)
    for name in ("CRIO_FILE", "CRIO_DROP_INS"):
        monkeypatch.setattr(containers_storage, name, base + getattr(containers_storage, name))


def roots(*daemons: str) -> list[Root]:
    return containers_storage.roots(host(*(daemon(each) for each in daemons)), CONFIG)


def storage(graphroot: Path, more: str = "", driver: str = "overlay") -> str:
    return f'[storage]\ndriver = "{driver}"\ngraphroot = "{graphroot}"\nrunroot = "{graphroot}-run"\n{more}'


def make(*names: Path) -> None:
    for name in names:
        name.mkdir(parents=True)


def test_etc_replaces_usr_as_a_whole(tmp_path: Path) -> None:
    make(tmp_path / "a", tmp_path / "b")
    write(
        tmp_path / "usr/share/containers/storage.conf",
        storage(tmp_path / "a", '[storage.options]\nskip_mount_home = "true"'),
    )
    (root,) = roots()
    assert (root.path, root.wants_private) == (os.fsencode(tmp_path / "a"), False)
    write(tmp_path / "etc/containers/storage.conf", storage(tmp_path / "b"))
    (root,) = roots()
    assert (root.path, root.wants_private) == (os.fsencode(tmp_path / "b"), True)
    assert (root.home, root.home_known, root.home_pid) == (None, True, None)
    assert root.record == (
        f"{tmp_path}/b-run/overlay-layers/mountpoints.json",
        f"{tmp_path}/b/overlay-layers/layers.json",
    )
    assert [layout.pattern for layout in root.layout] == [b"overlay/*/merged", b"overlay-containers/*/userdata/shm"]


def test_drop_ins_may_count_or_not(tmp_path: Path) -> None:
    make(tmp_path / "a", tmp_path / "b")
    write(tmp_path / "etc/containers/storage.conf", storage(tmp_path / "a"))
    write(tmp_path / "etc/containers/storage.conf.d/10-x.conf", f'[storage]\ngraphroot = "{tmp_path}/b"\n')
    assert [root.path for root in roots()] == [os.fsencode(tmp_path / "b"), os.fsencode(tmp_path / "a")]


@pytest.mark.parametrize("value", ['"true"', '"1"', '"T"', "true"])
@pytest.mark.parametrize("table", ["storage.options", "storage.options.overlay"])
def test_skip_mount_home(tmp_path: Path, table: str, value: str) -> None:
    make(tmp_path / "a")
    write(tmp_path / "etc/containers/storage.conf", storage(tmp_path / "a", f"[{table}]\nskip_mount_home = {value}"))
    assert [root.wants_private for root in roots()] == [False]


@pytest.mark.parametrize(("driver", "count"), [("overlay", 1), ("overlay2", 1), ("", 1), ("vfs", 0), ("btrfs", 0)])
def test_only_overlay_stores(tmp_path: Path, driver: str, count: int) -> None:
    make(tmp_path / "a")
    write(tmp_path / "etc/containers/storage.conf", storage(tmp_path / "a", driver=driver))
    assert len(roots()) == count


def test_a_store_that_is_not_there_is_no_root(tmp_path: Path) -> None:
    write(tmp_path / "etc/containers/storage.conf", storage(tmp_path / "a"))
    assert roots() == []
    (tmp_path / "b").mkdir()
    (tmp_path / "a").symlink_to("b")
    assert [root.path for root in roots()] == [os.fsencode(tmp_path / "b")]


def test_crio_overrides_and_is_the_home(tmp_path: Path) -> None:
    make(tmp_path / "a", tmp_path / "c", tmp_path / "c-run")
    write(tmp_path / "etc/containers/storage.conf", storage(tmp_path / "a"))
    write(tmp_path / "etc/crio/crio.conf", '[crio]\nroot = "/nonexistent"\n')
    places = f'root = "{tmp_path}/c"\nrunroot = "{tmp_path}/c-run"'
    skip = 'storage_option = ["overlay.skip_mount_home=true"]'
    write(tmp_path / "etc/crio/crio.conf.d/10-a.conf", f"[crio]\n{places}\n{skip}\n")
    podman, graph, run = roots("crio")
    assert (graph.path, graph.home, graph.wants_private) == (os.fsencode(tmp_path / "c"), 1, False)
    assert graph.record[0] == f"{tmp_path}/c-run/overlay-layers/mountpoints.json"
    assert (run.path, run.record) == (os.fsencode(tmp_path / "c-run"), ())
    assert (podman.path, podman.home) == (os.fsencode(tmp_path / "a"), None)


def test_a_store_of_crio_s_whose_name_is_no_utf8(tmp_path: Path) -> None:
    place = os.fsencode(tmp_path) + b"/\xff"
    os.mkdir(place)
    crio = replace(daemon("crio"), argv=(b"crio", b"--root", place))
    found = containers_storage.roots(host(crio), CONFIG)
    assert place in [root.path for root in found]


def test_a_store_of_both_is_crios(tmp_path: Path) -> None:
    make(tmp_path / "a")
    write(tmp_path / "etc/containers/storage.conf", storage(tmp_path / "a"))
    assert [root.home for root in roots("crio")] == [1]


def test_a_torn_file_is_a_gap(tmp_path: Path) -> None:
    file = write(tmp_path / "etc/containers/storage.conf", "[storage\n")
    _, gaps = engines.discover(host(), CONFIG)
    assert f"containers/storage's {file}" in {gap.what for gap in gaps}


class TestRecord:
    """States of spots below a store, with what podman 4.3.1 writes."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Path:
        write(tmp_path / "etc/containers/storage.conf", storage(tmp_path / "a"))
        write(tmp_path / "a/overlay-layers/layers.json", LAYERS)
        return tmp_path

    def state(self, rel: str) -> RecordState:
        (root,) = roots()
        return engines.record(host(), match(root, rel.encode()))

    def test_counts(self, store: Path) -> None:
        write(store / "a-run/overlay-layers/mountpoints.json", MOUNTED)
        assert self.state("overlay/4fd6f0294cf7/merged") is LIVE
        assert self.state("overlay/62afa055634d/merged") is UNMOUNTED
        assert self.state("overlay/000000000000/merged") is UNKNOWN
        assert self.state("overlay-containers/4fd6f0294cf7/userdata/shm") is UNKNOWN
        write(store / "a-run/overlay-layers/mountpoints.json", "[]")
        assert self.state("overlay/4fd6f0294cf7/merged") is UNMOUNTED
        write(store / "a-run/overlay-layers/mountpoints.json", MOUNTED.replace(":1}", ":0}"))
        assert self.state("overlay/4fd6f0294cf7/merged") is UNMOUNTED

    @pytest.mark.parametrize("name", ["containers.json", "volatile-containers.json"])
    def test_a_containers_shm_is_in_use_while_its_layer_is(self, store: Path, name: str) -> None:
        write(store / "a-run/overlay-layers/mountpoints.json", MOUNTED)
        containers = '[{"id":"c1","names":["x"],"layer":"4fd6f0294cf7"},{"id":"c2","layer":"62afa055634d"},{"id":"c3"}]'
        write(store / "a/overlay-containers" / name, containers)
        assert self.state("overlay-containers/c1/userdata/shm") is LIVE
        assert self.state("overlay-containers/c2/userdata/shm") is UNMOUNTED
        assert self.state("overlay-containers/c3/userdata/shm") is UNKNOWN

    def test_without_mountpoints_json_nothing_is_known(self, store: Path) -> None:
        assert self.state("overlay/62afa055634d/merged") is UNKNOWN

    @pytest.mark.parametrize("name", ["a/overlay-layers", "a-run/overlay-layers"])
    def test_volatile_layers_are_known_too(self, store: Path, name: str) -> None:
        write(store / "a-run/overlay-layers/mountpoints.json", "[]")
        write(store / name / "volatile-layers.json", '[{"id":"777"}]')
        assert self.state("overlay/777/merged") is UNMOUNTED

    @pytest.mark.parametrize("text", ["", "[", "null", "{}", '[{"id":"62afa055634d"}]', '[{"id":3,"count":1}]', "[3]"])
    @pytest.mark.parametrize("name", ["a-run/overlay-layers/mountpoints.json", "a/overlay-layers/layers.json"])
    def test_what_is_torn_is_unknown(self, store: Path, name: str, text: str) -> None:
        write(store / "a-run/overlay-layers/mountpoints.json", "[]")
        write(store / name, text)
        assert self.state("overlay/4fd6f0294cf7/merged") is UNKNOWN


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("storage")


@given(
    data=st.binary(max_size=60)
    | st.sampled_from([b"storage = 3", b"[storage]\noptions = 3", b'[storage]\ngraphroot = "/a\\u0000"', b"crio = []"])
)
def test_any_storage_conf_gives_roots_or_a_gap(scratch: Path, data: bytes) -> None:
    file = write(scratch / "conf", data)
    where = host(daemon("crio", "--config", file))
    containers_storage.CONFIG_FILES = (os.fsencode(file),)  # the fixture puts it back
    containers_storage.roots(where, CONFIG)
    assert all(gap.what.endswith(str(scratch / "conf")) for gap in where.take_gaps())


@given(data=st.binary(max_size=60), layers=st.binary(max_size=60))
def test_any_record_is_a_state(scratch: Path, data: bytes, layers: bytes) -> None:
    record = (str(write(scratch / "mountpoints.json", data)), str(write(scratch / "layers.json", layers)))
    root = Root(b"/x", "containers-storage", RootKind.GRAPH, (), None, record=record)
    assert engines.record(host(), match(root, b"overlay/l/merged")) in RecordState
