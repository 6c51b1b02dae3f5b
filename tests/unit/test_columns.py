"""How wide shown text is, where it breaks, and figures with their units."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mountwarden.escape import printable
from mountwarden.output import columns as text


@pytest.mark.parametrize(
    ("label", "columns"), [("abc", 3), ("層の", 4), ("e\u0301", 1), ("דוג", 3), ("👾", 2), ("", 0)]
)
def test_width_is_that_of_a_terminal(label: str, columns: int) -> None:
    assert text.width(label) == columns
    assert text.width(text.pad(label, 7)) == 7


def test_fit_keeps_both_ends() -> None:
    assert text.fit("/var/lib/docker/overlay2/abcdef/merged", 20) == "/var/l…abcdef/merged"
    assert text.fit("short", 20) == "short"


@given(st.text(st.sampled_from("a層e\u0301/👾"), max_size=40), st.integers(2, 30))
def test_fit_is_never_wider(label: str, columns: int) -> None:
    assert text.width(text.fit(label, columns)) <= columns


@given(st.text(st.sampled_from("ab 層/"), min_size=1, max_size=120), st.integers(8, 40))
def test_wrapped_lines_fit_and_lose_nothing(words: str, columns: int) -> None:
    lines = text.wrap(words, columns, first="> ", rest="  ")
    assert all(text.width(line) <= columns for line in lines)
    assert "".join("".join(line[2:] for line in lines).split()) == "".join(words.split())


def test_a_path_to_be_pasted_stays_whole() -> None:
    path = "/var/lib/docker/overlay2/abcdef/merged"
    lines = text.wrap(f"it is {path} on it", 20, first="  mount ", rest="    ", whole=True)
    assert lines == ["  mount it is", f"    {path}", "    on it"]


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
    marked = text.isolated(printable(name))
    assert marked.replace(LRI, "").replace(PDI, "") == printable(name)
    assert [c for c in marked if c in (LRI, PDI)] == [LRI, PDI] * marked.count(LRI)
