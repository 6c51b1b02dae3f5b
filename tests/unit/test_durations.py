"""Durations are systemd's time spans, read and written as systemd itself does."""

import random
import re
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mountwarden import durations
from mountwarden.cli.main import parser
from mountwarden.cli.options import Usage, parse
from mountwarden.config import load
from mountwarden.config.dump import dump
from mountwarden.errors import ConfigError

SPANS = {
    "0": 0,
    "90s": 90,
    "15min": 900,
    "15m": 900,
    "2h": 7200,
    "7d": 604_800,
    "1h30min": 5400,
    " 1h \t30 min ": 5400,
    "1w 1d": 691_200,
    "1.5h": 5400,
    ".5s": 0.5,
    "500ms": 0.5,
    "5": 5,
    "5 4s": 9,
    "1h30": 3630,
    "5.5s": 5.5,
    "12.34s.56": 12.9,
    "2hours 1hour 3hr": 21_600,
    "48hr": 172_800,
    "2minutes 1minute": 180,
    "2seconds 1second 1sec": 4,
    "1days 1day": 172_800,
    "1weeks 1week": 1_209_600,
    "1M": 2_629_800,
    "2months 1month": 7_889_400,
    "1y": 31_557_600,
    "1years 1year": 63_115_200,
    "55s500ms": 55.5,
    "300ms20s 5day": 432_020.3,
    "1msec 1usec 1us": 0.001002,
    "5µs": 0.000005,
    "5μs": 0.000005,
    "1.9999999s": 1.999999,
    "0.0000000001d": 0.000008,
}
"""Spans, those of systemd.time(7) among them, and their seconds."""

WRONG = [
    *("", " ", "d", "-1h", "1 h x", "h1", "1h!", "1mon", "1mins", "1hrs", "1ss", "1H", "1ns", "1,5s", "1e3", "0x10"),
    *("1.5.5", "5.", ".", "1 s s", "1s,2s", "٣s", "nan", "inf", "1h-1", "10000000000y", "9" * 5000),
]

TEXTS = {
    0.0: "0",
    1.0: "1s",
    1.5: "1.500000s",
    0.5: "500ms",
    0.0015: "1.500ms",
    0.000005: "5us",
    59.999999: "59.999999s",
    60.0: "1min",
    60.5: "1min 500ms",
    90.0: "1min 30s",
    3600.0: "1h",
    86_400.0: "1d",
    604_800.0: "1w",
    2_629_800.0: "1month",
    38_995_567.008009: "1y 2month 3w 4d 5h 6min 7.008009s",
}

analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def by_systemd(*spans: str) -> list[tuple[float, str]]:
    """The seconds of each, and how systemd writes it."""
    command = ["systemd-analyze", "timespan", "--", *spans]
    told = subprocess.run(command, check=True, capture_output=True, timeout=60, env={"LC_ALL": "C.UTF-8"}).stdout
    numbers = re.findall(r"μs: (\d+)", told.decode())
    return list(zip((int(n) / 1e6 for n in numbers), re.findall(r"Human: (.*)", told.decode()), strict=True))


@pytest.mark.parametrize("text", SPANS)
def test_a_span_has_its_seconds(text: str) -> None:
    assert durations.parse(text) == SPANS[text]


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^[a-z ,]+$"):
        durations.parse(text)


def test_for_ever_is_refused_in_its_own_words() -> None:
    with pytest.raises(ValueError, match="has no end"):
        durations.parse("infinity")


@pytest.mark.parametrize("seconds", TEXTS)
def test_it_is_written_as_systemd_writes_it(seconds: float) -> None:
    assert durations.text(seconds) == TEXTS[seconds]


@given(st.integers(0, 10**15).map(lambda number: number / 1e6))
def test_what_is_written_is_read_again(seconds: float) -> None:
    assert durations.parse(durations.text(seconds)) == seconds


@analyze
def test_systemd_reads_these_spans_so_and_writes_them_so() -> None:
    assert by_systemd(*SPANS) == [(seconds, durations.text(seconds)) for seconds in SPANS.values()]
    assert by_systemd(*TEXTS.values()) == list(TEXTS.items())


@analyze
@pytest.mark.parametrize("text", [text for text in WRONG if text != "9" * 5000])
def test_systemd_refuses_them_too(text: str) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        by_systemd(text)


@analyze
def test_systemd_agrees_on_any_span() -> None:
    dice = random.Random(1)
    units = [*durations.UNITS, ""]

    def part() -> str:
        number = dice.choice(["{0}", "{0}.{1}", ".{1}"]).format(dice.randrange(100), f"{dice.randrange(10**9)}")
        return number + dice.choice(["", " "]) + dice.choice(units) + " "

    spans = ["".join(part() for _ in range(dice.randint(1, 4))) for _ in range(500)]
    told = [durations.parse(span) for span in spans]
    assert by_systemd(*spans) == [(seconds, durations.text(seconds)) for seconds in told]


@pytest.mark.parametrize(
    ("argv", "name", "most"),
    [
        (["report", "--wait"], "wait", "1h"),
        (["pause", "--for"], "seconds", "10y"),
        (["silence", "mw-0123456789", "--for"], "seconds", "10y"),
    ],
)
def test_every_option_takes_them(argv: list[str], name: str, most: str) -> None:
    def given_as(text: str) -> float:
        return float(getattr(parse(parser(argv[:1]), [*argv, text]), name))

    for text in ("500ms", "2min", "1h", "2.5"):
        assert given_as(text) == durations.parse(text)
    for text, why in (
        ("1 fortnight", "'1 fortnight' is no time span; write 90s, 15min, 2h or 7d; see systemd.time(7)"),
        ("infinity", "'infinity' has no end, which is not possible here; write 90s"),
        ("11y", f"'11y' is not {'0' if name == 'wait' else 'more than 0'} to {most}"),
    ):
        with pytest.raises(Usage) as error:
            given_as(text)
        assert why in error.value.message


def test_zero_is_a_wait_and_no_pause() -> None:
    assert parse(parser(["report"]), ["report", "--wait", "0"]).wait == 0
    with pytest.raises(Usage, match="'0s' is not more than 0 to 10y"):
        parse(parser(["pause"]), ["pause", "--for", "0s"])


def test_every_key_takes_them() -> None:
    config = load.parse(b'tick = "500ms"\nresync = "1h"\n[confirm]\nnetns = "1min 30s"\nshm = 0\npinned = 1e-7\n')
    assert (config.tick, config.resync, config.confirm.netns, config.confirm.shm) == (0.5, 3600, 90, 0)
    assert config.confirm.pinned == 0, "a microsecond is the shortest, as for systemd"
    shown = dump(config).splitlines()
    assert {'tick = "500ms"', 'resync = "1h"', 'netns = "1min 30s"', 'shm = "0"'} <= set(shown)
    with pytest.raises(ConfigError, match='"1 fortnight" is no time span') as error:
        load.parse(b'tick = "1 fortnight"')
    assert "systemd.time(7)" in (error.value.hint or "")
