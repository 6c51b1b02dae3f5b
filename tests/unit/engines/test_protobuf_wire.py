"""Messages of protocol buffers, without their descriptors."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mountwarden.engines.protobuf_wire import fields

# A ListTasksResponse of one Process {id: "c1", pid: 300, status: RUNNING}, with a fixed64 and a fixed32 after it.
ANSWER = b"\x0a\x09\x12\x02c1\x18\xac\x02\x20\x02" + b"\x11" + bytes(8) + b"\x1d" + bytes(4)


def test_a_message_is_its_fields() -> None:
    (number, process), *rest = fields(ANSWER)
    assert (number, rest) == (1, [(2, bytes(8)), (3, bytes(4))])
    assert isinstance(process, bytes)
    assert list(fields(process)) == [(2, b"c1"), (3, 300), (4, 2)]


@pytest.mark.parametrize("cut", [1, 5, len(ANSWER) - 1])
def test_a_message_that_is_cut_short_is_an_error(cut: int) -> None:
    with pytest.raises(ValueError, match="cut short"):
        list(fields(ANSWER[:cut]))


@given(st.binary(max_size=40))
def test_any_bytes_are_fields_or_an_error(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        list(fields(data))
