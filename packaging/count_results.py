#!/usr/bin/python3
"""Adds up JUnit result files and prints `N passed, N failed`, with the skipped ones if there are any.

Usage: count_results.py FILE... Exit status 1 when something failed, or nothing passed.
"""

import sys
from pathlib import Path
from xml.etree import ElementTree


def counts(files: list[Path]) -> tuple[int, int, int]:
    """How many tests passed, failed (or broke in a fixture) and were skipped."""
    passed = failed = skipped = 0
    for file in files:
        for suite in ElementTree.parse(file).iter("testsuite"):
            tests, bad, left = (int(suite.get(key, "0")) for key in ("tests", "failures", "skipped"))
            bad += int(suite.get("errors", "0"))
            passed, failed, skipped = passed + max(tests - bad - left, 0), failed + bad, skipped + left
    return passed, failed, skipped


def main() -> int:
    """Print the closing line."""
    passed, failed, skipped = counts([Path(name) for name in sys.argv[1:] if Path(name).is_file()])
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 0 if passed and not failed else 1


sys.exit(main())
