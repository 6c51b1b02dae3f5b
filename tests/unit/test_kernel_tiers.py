"""What tests/kernel finds by a scanner, it finds on each tier: in `make test` on the best one, on all in test-all."""

import re

from tests.support.product import PROJECT

_SCANS = re.compile(r"\bScanner\(|Watched\(|crash\.(scanner|act|outcome|carry_out)|in_(few_)?processes\(|\bHome\b")
_EACH = re.compile(r'home: Home|leaked: Leaked|tier: Tier|usefixtures\("tier"\)|tiers\.available\(\)|\bTIERS\b')
_ON_ONE = {
    "batch": "many actions, and what they cost",
    "batch_checks": "the same",
    "batch_ends": "the same",
    "batch_races": "what happens between a scan and an action",
    "races": "the same",
    "pid_races": "the same",
    "detached_users": "no scanner",
    "hostile_arguments": "no scanner",
    "superblocks": "no scanner but to end one",
    "who_may_search": "no scanner",
    "reading": "texts alone",
    "read_ahead": "texts alone",
}
"""Modules that are not of it, and why."""


def test_each_module_that_scans_does_so_on_each_tier() -> None:
    modules = {one.stem.removeprefix("test_"): one.read_text() for one in PROJECT.glob("tests/kernel/test_*.py")}
    on_one = {name for name, text in modules.items() if _SCANS.search(text) and not _EACH.search(text)}
    assert on_one == _ON_ONE.keys()
    assert len({name for name, text in modules.items() if _EACH.search(text)}) > 25
