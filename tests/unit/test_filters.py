"""--engine, --unit, --kind and --root: what they mean, and that they name what there is."""

from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mountwarden.cli import filters, main
from mountwarden.errors import MountwardenError
from mountwarden.model import Holder, RootState
from mountwarden.output import report_text
from mountwarden.output.terminal import Terminal
from mountwarden.report import build
from mountwarden.systemd import known_units

from tests.support.reports import DOCKER, LEAKY, NOW, facts, finding

LIST = "systemctl list-units --all lists them"
USERS = Holder(4712, "portal", unit="user@1000.service", user=1000, user_unit="portal.service")


@pytest.fixture(autouse=True)
def units(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host has nginx.service alone, also called web.service."""
    there = {"nginx.service": {"nginx.service"}, "web.service": {"web.service", "nginx.service"}}
    monkeypatch.setattr(known_units, "names_of", lambda unit: frozenset(there.get(unit, ())))
    monkeypatch.setattr(known_units, "names", lambda: frozenset(there))


def options(*words: str, command: str = "report") -> Namespace:
    return main.parser((command,)).parse_args([command, *words])


def chosen(*words: str, **changes: Any) -> tuple[str, list[str]]:
    """What a filter of a report is about, and the holders' units of the findings that it takes."""
    report = build.build(facts(**{"findings": [finding(holders=(LEAKY,))], **changes}))
    one = filters.of_report(options(*words), report)
    return one.name, [str(found["copies"][0]["holders"][0]["unit"]) for found in report["findings"] if one.takes(found)]


@pytest.mark.parametrize("name", ["leaky", "leaky.service"])
def test_service_is_implied(name: str) -> None:
    assert chosen("--unit", name) == ("leaky.service", ["leaky.service"])


@pytest.mark.parametrize(
    ("given", "full"),
    [
        ("php8.2-fpm", "php8.2-fpm.service"),
        ("a.scope", "a.scope"),
        ("getty@tty1", "getty@tty1.service"),
        ("x.y", "x.y.service"),
    ],
)
def test_a_suffix_is_added_as_systemctl_does(given: str, full: str) -> None:
    assert known_units.full_name(given) == full


def test_a_unit_without_findings_is_fine_and_an_alias_is_its_unit() -> None:
    held = [finding(holders=(Holder(1, "nginx", unit="nginx.service"),))]
    assert chosen("--unit", "nginx") == ("nginx.service", [])
    assert chosen("--unit", "web", findings=held) == ("web.service", ["nginx.service"])


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        (("--unit", "leeky"), "there is no unit leeky.service on this host", "did you mean leaky.service?"),
        (("--unit", "nginxx"), "there is no unit nginxx.service on this host", "did you mean nginx.service?"),
        (("--unit", "q"), "there is no unit q.service on this host", LIST),
        (("--unit", "\x1b[2J"), "there is no unit \\x1b[2J.service on this host", LIST),
        (("--root", "/var/lib/dockr"), "/var/lib/dockr is no root that is guarded", "did you mean /var/lib/docker?"),
        (
            ("--root", "/var/lib/docker/overlay2"),
            "/var/lib/docker/overlay2 is no root",
            "did you mean /var/lib/docker?",
        ),
    ],
)
def test_what_is_not_there_is_an_error_with_the_nearest(words: tuple[str, ...], error: str, hint: str | None) -> None:
    with pytest.raises(MountwardenError) as wrong:
        chosen(*words)
    assert wrong.value.message.startswith(error)
    assert (wrong.value.status, wrong.value.hint) == (2, hint)


@pytest.mark.parametrize("path", ["/var/lib/docker/", "//var/./lib/x/../docker", "/var/lib//docker"])
def test_a_root_may_be_written_in_any_way(path: str) -> None:
    assert chosen("--root", path) == ("/var/lib/docker", ["leaky.service"])


def test_a_root_may_be_named_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    here = facts([])
    here = replace(here, picture=replace(here.picture, roots=(_guarded(tmp_path / "data"),)))
    assert filters.of_report(options("--root", f"{tmp_path}/link/"), build.build(here)).root == f"{tmp_path}/data"
    with pytest.raises(MountwardenError):
        filters.of_report(options("--root", f"{tmp_path}/link"), build.build(here), here=False)


def _guarded(path: Path) -> Any:
    return RootState(replace(DOCKER, path=bytes(path)), None, None)


@pytest.mark.parametrize("name", ["Docker", "DOCKER", "docker"])
def test_an_engine_may_be_written_in_any_case(name: str) -> None:
    assert chosen("--engine", name) == ("docker", ["leaky.service"])


def test_an_unknown_engine_is_an_error_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["report", "--engine", "dockr"]) == 2
    assert "there is no engine 'dockr'; did you mean docker?" in capsys.readouterr().err
    assert main.main(["detach", "--all", "--engine", "zzz"]) == 2
    assert "engines are docker, containers-storage" in capsys.readouterr().err


def test_a_unit_of_a_users_own_systemd_is_one_too() -> None:
    theirs, leaky = (build.build(facts(findings=[finding(holders=(who,))])) for who in (USERS, LEAKY))
    one = filters.of_report(options("--unit", "portal"), theirs)
    assert [one.takes(report["findings"][0]) for report in (theirs, leaky)] == [True, False]


def test_actions_refuse_what_is_not_there_too() -> None:
    report = build.build(facts(findings=[finding(holders=(LEAKY,))]))
    with pytest.raises(MountwardenError, match="there is no unit leeky"):
        filters.of_report(options("--all", "--unit", "leeky", command="detach"), report)


def test_a_snapshot_does_not_know_the_units_of_this_host() -> None:
    report = build.build(facts(findings=[finding(holders=(LEAKY,))]))
    with pytest.raises(MountwardenError, match="in the findings of the snapshot"):
        filters.of_report(options("--unit", "nginx"), report, here=False)


def test_the_headline_names_the_filter_and_says_what_it_hides() -> None:
    report = build.build(facts(findings=[finding(holders=(LEAKY,))]))
    one = filters.of_report(options("--unit", "nginx", "--kind", "leaked", "--engine", "docker"), report)
    some = build.select(report, one.takes)
    text = report_text.render(some, report_text.View(Terminal(100), NOW, about=one.name, hidden=1))
    assert "nothing is wrong with nginx.service, docker, kind leaked on" in text
    assert "1 finding about something else: mountwarden report" in text
    text = report_text.render(report, report_text.View(Terminal(100), NOW, about="leaky.service"))
    assert "1 warning of leaky.service on" in text


def test_units_by_files_links_templates_and_cgroups(tmp_path: Path) -> None:
    files, cgroups = tmp_path / "system", tmp_path / "cgroup"
    (cgroups / "user.slice/user@1000.service/app.slice/portal.service").mkdir(parents=True)
    files.mkdir()
    for name in ("nginx.service", "getty@.service"):
        (files / name).touch()
    (files / "web.service").symlink_to("nginx.service")
    (files / "loop.service").symlink_to("loop.service")
    (files / "masked.service").symlink_to("/dev/null")

    def names_of(unit: str) -> set[str]:
        return set(_REAL(unit, [str(files)], str(cgroups)))

    assert names_of("nginx.service") == {"nginx.service"}
    assert names_of("web.service") == {"web.service", "nginx.service"}
    assert names_of("getty@tty1.service") == {"getty@tty1.service"}
    assert names_of("masked.service") == {"masked.service"}
    assert names_of("loop.service") == {"loop.service"}
    assert names_of("portal.service") == {"portal.service"}
    assert names_of("absent.service") == names_of("../system/nginx.service") == set()


_REAL = known_units.names_of
