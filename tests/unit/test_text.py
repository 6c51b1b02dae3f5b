"""Text of the host: what may reach a terminal, back again, and how wide it is."""

import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mountwarden.tell import text

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
    assert text.shown(given) == wanted
    assert text.unshown(wanted) == given


@pytest.mark.parametrize(
    "plain", ["/var/lib/docker", "a b", "層の名前", "דוגמה", "café", r"back\slash", r"dev-x\x", "👾"]
)
def test_what_prints_as_itself_stays(plain: str) -> None:
    assert text.shown(plain.encode()) == plain


def test_a_backslash_that_reads_as_an_escape_is_escaped() -> None:
    assert text.shown(rb"a\x41\xZZ\\x0a") == r"a\x5cx41\xZZ\\x5cx0a"


@given(st.binary())
def test_every_byte_string_comes_back(data: bytes) -> None:
    shown = text.shown(data)
    assert text.unshown(shown) == data
    assert all(not unicodedata.category(character).startswith("C") for character in shown)


@given(st.text())
def test_every_str_is_shown_without_controls(name: str) -> None:
    assert text.shown(name).isprintable()


def test_a_str_is_taken_as_the_file_system_gave_it() -> None:
    assert text.shown(os.fsdecode(b"caf\xe9")) == r"caf\xe9"


def test_a_sentence_keeps_the_escapes_that_it_has() -> None:
    assert text.sentence("held by a\\x1bb\x1b[m") == r"held by a\x1bb\x1b[m"


def test_unit_names_keep_systemds_own_escapes() -> None:
    assert text.unit_name(r"dev-disk\x2da.mount") == r"dev-disk\x2da.mount"
    assert text.unit_name("a\x1bb.service") == r"a\x1bb.service"


@pytest.mark.parametrize(
    ("shown", "columns"), [("abc", 3), ("層の", 4), ("e\u0301", 1), ("דוג", 3), ("👾", 2), ("", 0)]
)
def test_width_is_that_of_a_terminal(shown: str, columns: int) -> None:
    assert text.width(shown) == columns
    assert text.width(text.pad(shown, 7)) == 7


def test_fit_keeps_both_ends() -> None:
    assert text.fit("/var/lib/docker/overlay2/abcdef/merged", 20) == "/var/l…abcdef/merged"
    assert text.fit("short", 20) == "short"


@given(st.text(st.sampled_from("a層e\u0301/👾"), max_size=40), st.integers(2, 30))
def test_fit_is_never_wider(shown: str, columns: int) -> None:
    assert text.width(text.fit(shown, columns)) <= columns


@given(st.text(st.sampled_from("ab 層/"), min_size=1, max_size=120), st.integers(8, 40))
def test_wrapped_lines_fit_and_lose_nothing(words: str, columns: int) -> None:
    lines = text.wrap(words, columns, first="> ", rest="  ")
    assert all(text.width(line) <= columns for line in lines)
    assert "".join("".join(line[2:] for line in lines).split()) == "".join(words.split())


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["mountwarden", "detach", "mw-0123456789"], "mountwarden detach mw-0123456789"),
        (
            ["mountwarden", "detach", "--all", "--unit", "getty@tty1.service"],
            "mountwarden detach --all --unit getty@tty1.service",
        ),
        (["systemctl", "restart", r"dev\x2dx.service"], r"systemctl restart 'dev\x2dx.service'"),
        (["kill", "4711"], "kill 4711"),
    ],
)
def test_commands_that_may_be_pasted(words: list[str], wanted: str) -> None:
    assert text.command(words) == wanted


@pytest.mark.parametrize(
    "word", ["a;b", "$(x)", "`x`", "a b", "", "a'b", 'a"b', "a\nb", "é", "-rf.x", "*", "~x", "a>b", "#x", "a&"]
)
def test_commands_that_a_shell_would_misread_are_none(word: str) -> None:
    assert text.command(["systemctl", "restart", word]) is None


@pytest.mark.parametrize(
    ("seconds", "wanted"),
    [
        (-3, "0 s"),
        (59.9, "59 s"),
        (195, "3 min 15 s"),
        (600, "10 min"),
        (7500, "2 h 5 min"),
        (7200, "2 h"),
        (788400, "9 d 3 h"),
    ],
)
def test_ages(seconds: float, wanted: str) -> None:
    assert text.age(seconds) == wanted


def test_costs_and_counts() -> None:
    assert [text.cost(0.00042), text.cost(0.0761), text.cost(1.26)] == ["0.4 ms", "76 ms", "1.3 s"]
    assert [text.count(1, "root"), text.count(52655, "mount")] == ["1 root", "52,655 mounts"]


LRI, PDI = "\u2066", "\u2069"


@pytest.mark.parametrize(
    ("plain", "marked"),
    [
        ("/var/lib/docker", "/var/lib/docker"),
        ("/層/名", "/層/名"),
        ("/דוגמה/merged  3 min", f"/{LRI}דוגמה{PDI}/merged  3 min"),
        ("/אב/גד:7", f"/{LRI}אב{PDI}/{LRI}גד{PDI}:7"),
        ("مثال", f"{LRI}مثال{PDI}"),
        ("١٢ a", f"{LRI}١٢{PDI} a"),
        ("שָׁלוֹם!", f"{LRI}שָׁלוֹם{PDI}!"),
        ("é\u0301 א", f"é\u0301 {LRI}א{PDI}"),
    ],
)
def test_right_to_left_text_turns_nothing_else_round(plain: str, marked: str) -> None:
    assert text.isolated(plain) == marked
    assert text.width(marked) == text.width(plain)


@given(st.text())
def test_isolation_adds_nothing_but_balanced_marks(name: str) -> None:
    marked = text.isolated(text.shown(name))
    assert marked.replace(LRI, "").replace(PDI, "") == text.shown(name)
    assert [c for c in marked if c in (LRI, PDI)] == [LRI, PDI] * marked.count(LRI)
