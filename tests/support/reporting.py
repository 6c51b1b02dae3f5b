"""A pytest plugin: markers from folders, skips that count as failures, and the summary of where the time went."""

import os
from collections import defaultdict
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.support import tree
from tests.support.packages import SUITES

FOLDERS = ("unit", "kernel", "host", "engines", "vm", "fuzz", "bench")
BOOTED = ("host", "engines")
_TESTS = Path(__file__).resolve().parents[1]
_durations: dict[str, float] = defaultdict(float)
_folders: dict[str, str] = {}


def folder(path: Path) -> str | None:
    """The folder of tests/ that a test file is in."""
    parts = path.relative_to(_TESTS).parts if path.is_relative_to(_TESTS) else ()
    return parts[0] if parts and parts[0] in FOLDERS else None


def required() -> set[str]:
    """Folders whose tests must run here: MOUNTWARDEN_REQUIRE=kernel,host,…"""
    return {name.strip() for name in os.environ.get("MOUNTWARDEN_REQUIRE", "").split(",") if name.strip()}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Before `-m` selects."""
    for item in items:
        if name := folder(item.path):
            item.add_marker(name)
            _folders[item.nodeid] = name


def pytest_configure() -> None:
    if unknown := required() - set(FOLDERS):
        raise pytest.UsageError(f"MOUNTWARDEN_REQUIRE names no folder of tests: {', '.join(sorted(unknown))}")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build the test hosts' trees outside of any test's time limit. Without another suite's, its tests alone fail."""
    if session.config.option.collectonly:
        return
    for suite in sorted(_suites(session.items)):
        if tree.obstacle(suite) or tree.path(suite).is_dir():
            continue
        _tell(session, f"building the test host's tree in {tree.path(suite)} (a minute or two, 1 GB)")
        try:
            tree.tree(suite)
        except tree.TreeError as error:
            if suite == tree.SUITE:
                raise
            _tell(session, f"{suite}: {error}")


def _tell(session: pytest.Session, line: str) -> None:
    if reporter := session.config.pluginmanager.get_plugin("terminalreporter"):
        reporter.write_line(line)


def _suites(items: Iterable[pytest.Item]) -> set[str]:
    """Of the tests on booted hosts: the one that all have by default, and those that are parameters of theirs."""
    wanted = set()
    for item in (item for item in items if folder(item.path) in BOOTED):
        values = (
            item.callspec.params.values() if isinstance(item, pytest.Function) and hasattr(item, "callspec") else ()
        )
        wanted |= {tree.SUITE, *(value for value in values if isinstance(value, str) and value in SUITES)}
    return wanted


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and folder(item.path) in required():
        report.outcome = "failed"
        report.longrepr = f"skipped, but MOUNTWARDEN_REQUIRE wants it to run: {_reason(report.longrepr)}"
    _durations[report.nodeid] += report.duration
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    """A module that skips itself as a whole."""
    report = yield
    if report.outcome == "skipped" and folder(collector.path) in required():
        report.outcome = "failed"
        report.longrepr = f"skipped, but MOUNTWARDEN_REQUIRE wants it to run: {_reason(report.longrepr)}"
    return report


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_sessionfinish(exitstatus: int) -> Generator[None, Any, Any]:
    """After Ctrl-C fixtures are ended here, and one that fails would take the summary of all failures with it."""
    try:
        return (yield)
    except BaseException as error:
        if exitstatus != pytest.ExitCode.INTERRUPTED:
            raise
        print(f"\nafter the interrupt: {error}")
        return None


def _reason(text: object) -> str:
    return str(text[2]) if isinstance(text, tuple) else str(text)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The ten slowest tests with their set-up and tear-down, and each folder's total."""
    if not _durations:
        return
    terminalreporter.section("time")
    for nodeid, seconds in sorted(_durations.items(), key=lambda item: -item[1])[:10]:
        terminalreporter.write_line(f"{seconds:8.2f} s  {nodeid}")
    totals: dict[str, list[float]] = defaultdict(list)
    for nodeid, seconds in _durations.items():
        totals[_folders.get(nodeid, "other")].append(seconds)
    for name, spent in sorted(totals.items()):
        terminalreporter.write_line(f"{sum(spent):8.2f} s  all of {name} ({len(spent)} tests)")
