"""Archives put together from hostile parts: each is applied or refused as a bad archive, and nothing else happens."""

import io
import os
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mountwarden.graphdriver.beneath import Escape
from mountwarden.graphdriver.tar.extract import CannotApply, Devices, Options, apply_layer
from mountwarden.graphdriver.tar.format import BadArchive

from tests.kernel.graphdriver import tars

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="applying a layer needs root")

NAMES = st.sampled_from(
    [b"a", b"a/b", b"..", b"a/../..", b"/", b"./", b"\xff\x1b", b"a\0b", b"n" * 90, b".wh.a", b".wh..wh..opq"]
)
NUMBERS = st.one_of(
    st.integers(-(1 << 70), 1 << 70),
    st.sampled_from([0, 1, -1, 511, 512, (1 << 31) - 1, 1 << 32, (1 << 63) - 1, 1 << 63]),
)
DIGITS = st.one_of(
    NUMBERS.map(lambda n: b"%d" % n),
    st.sampled_from([b"", b"9" * 19, b"-", "²".encode(), b"1.5", b"1e9", b"+1", b"1_0"]),
)
_KEYS = """path linkpath size mtime uid gid SCHILY.xattr.user.a SCHILY.xattr.user.\0 SCHILY.xattr.
SCHILY.xattr.security.capability SCHILY.xattr.system.posix_acl_access GNU.sparse.map GNU.sparse.size GNU.sparse.major
GNU.sparse.realsize GNU.sparse.name GNU.sparse.offset GNU.sparse.numbytes"""
KEYS = st.sampled_from([key.encode() for key in _KEYS.split()])
KINDS = st.sampled_from([*b"0123456", *b"SLKxXgA7Z", 0]).map(lambda kind: bytes([kind]))


@st.composite
def blocks(draw: st.DrawFn) -> bytes:
    """One header with what may follow it."""
    fields = st.dictionaries(
        st.sampled_from(["mode", "uid", "gid", "size", "mtime", "major", "minor", "real"]), NUMBERS, max_size=3
    )
    sizes = {"size": 12, "mtime": 12, "real": 12}
    numbers = {key: tars.base256(value, sizes.get(key, 8)) for key, value in draw(fields).items()}
    header = tars.block(draw(NAMES)[:100], draw(KINDS), draw(NAMES)[:100], **numbers)
    return header + draw(st.sampled_from([b"", b"x" * 512, b"0\n".ljust(512, b"\0"), tars.end()]))


PAIRS = st.lists(st.tuples(KEYS, st.one_of(DIGITS, NAMES)), min_size=1, max_size=3)
RECORDS = st.builds(lambda pairs, off: tars.records(*pairs, length=off), PAIRS, st.sampled_from([0, 0, 0, 1, -1, 99]))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(blocks(), RECORDS), min_size=1, max_size=6))
def test_an_archive_is_applied_or_refused_and_nothing_outside_is_touched(parts: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "layer").mkdir()
        (place / "beside").write_text("as it was")
        before = tars.tree(name)["beside"]
        options = Options(devices=Devices.SKIP, maximum_bytes=1 << 30)
        try:
            apply_layer(os.fsencode(place / "layer"), io.BytesIO(b"".join(parts) + tars.end()), options)
        except (BadArchive, Escape, CannotApply):
            pass
        assert sorted(os.listdir(place)) == ["beside", "layer"]
        assert tars.describe(place / "beside") == before


def test_the_parts_are_archives() -> None:
    whole = tars.records((b"path", b"long")) + tars.block(b"short", size=b"1") + b"x".ljust(512, b"\0") + tars.end()
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        assert [(one.name, one.size) for one in archive] == [("long", 1)]
