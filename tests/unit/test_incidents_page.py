"""docs/incidents.md beside the tests that it names."""

import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
PAGE = (PROJECT / "docs/incidents.md").read_text()
SECTIONS = re.findall(r"^## (\d+)\. .*\n((?:(?!## ).*\n)*)", PAGE, re.MULTILINE)
TEST = re.compile(r"`(tests/\S+\.py)::(\w+)`")


def test_each_incident_has_a_test_that_makes_it() -> None:
    assert [int(number) for number, _text in SECTIONS] == list(range(1, len(SECTIONS) + 1))
    makes = (PROJECT / "tests/engines/test_incidents.py").read_text()
    for number, text in SECTIONS:
        named = TEST.findall(text)
        assert named or f"def test_incident_{number}_" in makes, number
        for file, name in named:
            assert f"def {name}(" in (PROJECT / file).read_text(), (file, name)


def test_each_says_what_is_seen_reported_and_done() -> None:
    for number, text in SECTIONS:
        said = [word for word in ("Symptom", "Topology", "Reported", "Remedy") if f"**{word}**: " in text]
        assert said == ["Symptom", "Topology", "Reported", "Remedy"], number
