"""Whatever a cgroup path, a unit file, a runtime's configuration or the bus says: an answer, never an exception."""

from hypothesis import given
from hypothesis import strategies as st
from mountwarden import escape
from mountwarden.explain import oci
from mountwarden.model import UnitFile
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
