"""Text of the host: what may be shown, and back again."""

import json
import os
import socket
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mountwarden import escape
from mountwarden.systemd.notify import Notifier

HOSTILE = [
    (b"\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
    (b"a\nb\tc\rd\x00\x7f", r"a\x0ab\x09c\x0dd\x00\x7f"),
    (b"\x9b31m", r"\x9b31m"),  # a bare byte that an 8-bit terminal takes for CSI
    ("\u009b31m".encode(), r"\xc2\x9b31m"),  # the same as a character of C1
    ("\u202egnp.exe".encode(), r"\xe2\x80\xaegnp.exe"),  # right-to-left override
    ("a\u200bb\u2066c".encode(), r"a\xe2\x80\x8bb\xe2\x81\xa6c"),  # zero width, isolate
    ("\u3164\u2800".encode(), r"\xe3\x85\xa4\xe2\xa0\x80"),  # letters that print as nothing
    ("\u0301a".encode(), r"\xcc\x81a"),  # a mark that would sit on our own text
    (("a" + "\u0301" * 6).encode(), "a" + "\u0301" * 4 + r"\xcc\x81\xcc\x81"),
    (b"caf\xe9", r"caf\xe9"),
    (b"\xed\xa0\x80", r"\xed\xa0\x80"),  # a surrogate is no UTF-8
    (b"\xff\xfe", r"\xff\xfe"),
    ("\u2028".encode(), r"\xe2\x80\xa8"),
    ("\ufeffx".encode(), r"\xef\xbb\xbfx"),
]


@pytest.mark.parametrize(("given", "wanted"), HOSTILE)
def test_what_would_act_on_a_terminal_is_escaped(given: bytes, wanted: str) -> None:
    assert escape.printable(given) == wanted
    assert escape.original(wanted) == given


@pytest.mark.parametrize(
    "plain", ["/var/lib/docker", "a b", "層の名前", "דוגמה", "café", r"back\slash", r"dev-x\x", "👾"]
)
def test_what_prints_as_itself_stays(plain: str) -> None:
    assert escape.printable(plain.encode()) == plain


def test_a_backslash_that_reads_as_an_escape_is_escaped() -> None:
    assert escape.printable(rb"a\x41\xZZ\\x0a") == r"a\x5cx41\xZZ\\x5cx0a"


@given(st.binary())
def test_every_byte_string_comes_back(data: bytes) -> None:
    visible = escape.printable(data)
    assert escape.original(visible) == data
    assert all(not unicodedata.category(character).startswith("C") for character in visible)


@given(st.text())
def test_every_str_is_shown_without_controls(name: str) -> None:
    assert escape.printable(name).isprintable()


def test_a_str_is_taken_as_the_file_system_gave_it() -> None:
    assert escape.printable(os.fsdecode(b"caf\xe9")) == r"caf\xe9"


def test_a_sentence_keeps_the_escapes_that_it_has() -> None:
    assert escape.sentence("held by a\\x1bb\x1b[m") == r"held by a\x1bb\x1b[m"


def test_unit_names_keep_systemds_own_escapes() -> None:
    assert escape.unit_name(r"dev-disk\x2da.mount") == r"dev-disk\x2da.mount"
    assert escape.unit_name("a\x1bb.service") == r"a\x1bb.service"


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("ssh@1:0.service", "ssh@1:0.service"),
        (r"a\x2db.service", r"'a\x2db.service'"),
        ("a b.service", None),
        ("a'b.service", None),
        ("$(x).service", None),
        ("a.service\n", None),
        ("-x.service", None),
        ("", None),
    ],
)
def test_a_units_name_in_a_command(name: str, word: str | None) -> None:
    assert escape.unit_word(name) == word


def test_time_is_utc() -> None:
    assert escape.timestamp(1795498811.9, "seconds") == "2026-11-24T05:40:11Z"


NO_XML = [*range(9), 11, 12, *range(14, 32), 0xD800, 0xDFFF, 0xFFFE, 0xFFFF]


@pytest.mark.parametrize("code", [*NO_XML, 0x7F, 0x9B, 0x202E, 0x2028, 0x3164, 0xE0001, 0x10FFFF])
def test_what_xml_forbids_and_terminals_act_on_is_plain_text_everywhere(code: int) -> None:
    text = f"a{chr(code)}b"
    assert escape.printable(text).isascii()
    assert escape.sentence(text).isascii()
    document = escape.json_text(json.dumps({"key": text}, ensure_ascii=False))
    assert document.isascii()
    assert document.isprintable()
    assert json.loads(document) == {"key": text}


def test_a_document_keeps_its_lines_and_its_letters() -> None:
    text = json.dumps({"é": ["☃", "\U0001f600", "日本"]}, indent=1, ensure_ascii=False)
    assert escape.json_text(text) == text


def test_the_service_manager_gets_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notifier = Notifier()
        notifier.status("old configuration kept: /a\nMAINPID=1\x1b[2J")
        assert manager.recv(1000) == rb"STATUS=old configuration kept: /a\x0aMAINPID=1\x1b[2J"
        notifier._notifier.socket.close()
