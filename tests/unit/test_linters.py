"""The linters are tests. An absent tool is a skip on a developer's machine, and a failure where CI=true."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _tool(name: str) -> str:
    beside = Path(sys.executable).parent / name
    path = str(beside) if beside.exists() else shutil.which(name)
    if path is None and os.environ.get("CI") == "true":
        pytest.fail(f"{name} is not here, and CI=true asks for it")
    if path is None:
        pytest.skip(f"{name} is not here")
    return path


def _clean(name: str, *arguments: str) -> None:
    run = subprocess.run([_tool(name), *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, f"{name} {' '.join(arguments)}\n{run.stdout}{run.stderr}"


def _is_shell(file: Path) -> bool:
    if file.suffix in {".sh", ".bash"}:
        return True
    with file.open("rb") as text:
        first = text.readline(64)
    return first.startswith(b"#!") and first.split(b"/")[-1].split()[-1:] in ([b"sh"], [b"bash"])


def _ours() -> list[Path]:
    skipped = {".git", ".venv", "build", "dist", ".hypothesis", "__pycache__"}
    return [
        file for file in sorted(ROOT.rglob("*")) if file.is_file() and not skipped & set(file.relative_to(ROOT).parts)
    ]


def test_ruff() -> None:
    _clean("ruff", "check", "--no-cache", ".")


def test_ruff_format() -> None:
    _clean("ruff", "format", "--no-cache", "--check", ".")


@pytest.mark.timeout(300)
def test_mypy_strict() -> None:
    _clean("mypy")


def test_codespell() -> None:
    _clean("codespell")


def test_shellcheck() -> None:
    scripts = [str(file.relative_to(ROOT)) for file in _ours() if _is_shell(file)]
    assert "packaging/setup" in scripts
    _clean("shellcheck", *scripts)
