"""Man pages and completions: up to date with the parser, clean, and at work in a real bash."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mountwarden.cli.main import COMMANDS

PACKAGING = Path(__file__).resolve().parents[2] / "packaging"
PAGES = sorted((PACKAGING / "man").iterdir())
BASH = PACKAGING / "completions/mountwarden.bash"


def test_files_are_what_the_parser_makes(tmp_path: Path) -> None:
    pytest.importorskip("shtab")
    pytest.importorskip("argparse_manpage")
    subprocess.run([sys.executable, str(PACKAGING / "manual.py"), str(tmp_path)], check=True, timeout=30)
    made = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert len(made) == 6
    old = [path for path in made if (PACKAGING / path).read_text() != (tmp_path / path).read_text()]
    assert old == [], "run: python packaging/manual.py"


def test_there_is_a_page_for_each_section() -> None:
    assert [page.suffix for page in PAGES] == [".1", ".7", ".8", ".5"]


def warnings(page: Path) -> str:
    environ = {**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "80"}
    done = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-l", str(page)], capture_output=True, text=True, env=environ, check=True
    )
    assert "NAME" in done.stdout
    return done.stderr


@pytest.mark.skipif(shutil.which("man") is None, reason="man is not installed")
@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_man_has_no_warning(page: Path) -> None:
    assert warnings(page) == ""


@pytest.mark.skipif(shutil.which("man") is None, reason="man is not installed")
def test_man_would_warn(tmp_path: Path) -> None:
    page = tmp_path / "bad.1"
    page.write_text(".TH BAD 1\n.SH NAME\nbad \\- page\n.no_such_macro\n")
    assert "no_such_macro" in warnings(page)


def complete(*words: str) -> list[str]:
    """What bash offers for the last of these words."""
    script = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); function=$(complete -p mountwarden)\n'
    script += (
        'function=${function#*-F }; ${function%% *} "$1" "${@: -1}" "${@: -2:1}"; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script, "bash", str(BASH), *words], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes_commands() -> None:
    assert {"report", "explain", "detach"} <= set(complete("mountwarden", ""))
    assert complete("mountwarden", "expl") == ["explain"]
    assert set(complete("mountwarden", "")) >= COMMANDS.keys()


def test_bash_completes_options_and_their_values() -> None:
    assert "--fail-on" in complete("mountwarden", "report", "--f")
    assert set(complete("mountwarden", "report", "--fail-on", "")) == {"warning", "critical"}
