"""Whatever a cgroup path, a unit file, a runtime's or engine's file or the bus says: an answer, never an exception."""

import json
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from mountwarden import escape
from mountwarden.busy import bundles, stores
from mountwarden.explain import oci
from mountwarden.model import UnitFile
from mountwarden.observe.accounts import accounts
from mountwarden.systemd import cgroups, unit_syntax, units

PIECES = st.sampled_from(
    (
        *(b"/", b"0::", b"1:name=systemd:", b"..", b"a.service", b"x.slice", b"user@1.service", b"docker-", b"f" * 64),
        *(
            b".scope",
            b"machine-",
            b"\\x2d",
            b"\\xff",
            b"\n",
            b" (deleted)",
            b"_",
            b":",
            b"lxc",
            b"lxc.payload.",
            b"\xff",
        ),
    )
)
TEXT = st.lists(PIECES | st.binary(max_size=4), max_size=30).map(b"".join)
UNIT = st.lists(
    st.sampled_from([b"[Service]", b"\n", b"=", b"\\", b"#", b";", b"PrivateTmp", b"yes", b" ", b"[", b"\xef\xbb\xbf"])
    | st.binary(max_size=3),
    max_size=40,
).map(b"".join)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple),
    max_leaves=8,
)
KEYS = st.sampled_from(
    [b"Id", b"MountFlags", b"PrivateTmp", b"PrivateTmpEx", b"BindPaths", b"DropInPaths", b"ExecMainStartTimestamp"]
)


@given(TEXT)
def test_cgroup(text: bytes) -> None:
    found = cgroups.place(text)
    assert found.unit is None or "/" not in found.unit
    assert found.container is None or "/" not in found.container


@given(UNIT)
def test_unit_file(text: bytes) -> None:
    lines = text.count(b"\n") + 1
    items = unit_syntax.parse(text)
    assert all(1 <= item.line <= lines for item in items)
    assert [item.line for item in items] == sorted(item.line for item in items)
    unit_syntax.locate([UnitFile(b"/x", items)], "PrivateTmp", "yes")


@given(st.dictionaries(KEYS, VALUES))
def test_bus(properties: dict[bytes, object]) -> None:
    facts = units.facts("x.service", properties)
    assert all(isinstance(path, bytes) for path in facts.drop_ins)
    assert all(escape.unit_name(item.value).isprintable() for item in facts.directives)


@given(st.binary(max_size=60))
def test_runtime_configuration(text: bytes) -> None:
    oci.propagation_in(text, b"/host")


@given(st.binary())
def test_shown_is_printable(raw: bytes) -> None:
    assert escape.printable(raw).isprintable()


WORDS = st.sampled_from(
    [
        *(
            "id",
            "names",
            "layer",
            "Name",
            "Driver",
            "overlay2",
            "annotations",
            "nerdctl/name",
            "..",
            "a/b",
            "\0",
            "\ud800",
        ),
        *("io.kubernetes.cri.container-type", "io.kubernetes.cri.sandbox-name", "sandbox", "k8s_a_b_c_d_0"),
        *("io.kubernetes.cri-o.ContainerType", "io.kubernetes.cri-o.Metadata", '{"name": "a"}', "{", "web", ""),
    ]
)
ENGINES_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)


@given(ENGINES_JSON)
def test_files_of_engines_name_containers_or_nothing(value: object) -> None:
    with tempfile.TemporaryDirectory() as directory:
        files = ("overlay-containers/containers.json", "containers/x/config.v2.json")
        for name in (
            *files,
            "io.containerd.runtime.v2.task/n/x/config.json",
            "overlay-containers/x/userdata/config.json",
        ):
            path = Path(directory, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(value))
        found = [*stores.docker(directory), *stores.podman(directory), *bundles.containerd(directory)]
        found += [bundles.crio(directory, one) for one in found]
    for one in found:
        assert one.layer is not None
        assert one.layer.startswith(f"{directory}/")
        assert ".." not in one.layer.split("/")
        assert str(one).isprintable()


@given(st.lists(st.sampled_from([b":", b"\n", b"x", b"0", b"1000", b"/", b"\xff", b"root", b"9" * 20]), max_size=60))
def test_passwd(pieces: list[bytes]) -> None:
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(b"".join(pieces))
        for one in accounts(file.name):
            assert one.home.startswith(b"/")
