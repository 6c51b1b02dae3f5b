"""The command line itself: which command is meant, one line for an error, what is imported."""

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import mountwarden
import pytest
from mountwarden.cli import main as cli

AGENT = Path(mountwarden.__file__).parents[1]
HEAVY = (
    "argparse",
    "json",
    "rich",
    "pystemd",
    "lxml",
    "asyncio",
    "importlib.metadata",
    "ctypes",
    "mountwarden.scan.scanner",
)


def python(code: str, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run code in an interpreter of its own, as the installed command runs."""
    code = f"import sys; sys.path.insert(0, {str(AGENT)!r}); {code}"
    command = [sys.executable, "-I", "-B", "-c", code, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": os.defpath, **environ})


RUN = "from mountwarden.cli.main import run; run()"


def test_version_imports_next_to_nothing() -> None:
    code = "from mountwarden.cli.main import main; main(['--version']); print(*sys.modules)"
    version, modules = python(code).stdout.splitlines()
    assert version == f"mountwarden {mountwarden.__version__}"
    assert set(modules.split()) & set(HEAVY) == set()


def test_version_is_quick() -> None:
    def took() -> float:
        started = time.monotonic()
        assert python(RUN, "--version").returncode == 0
        return time.monotonic() - started

    assert min(took() for _ in range(5)) < 0.08


@pytest.mark.parametrize(
    ("argv", "wanted"),
    [
        ([], ("report", [])),
        (["--json"], ("report", ["--json"])),
        (["--config", "/etc/x", "--all"], ("report", ["--config", "/etc/x", "--all"])),
        (["--no-color", "explain", "mw-0123456789"], ("explain", ["--no-color", "mw-0123456789"])),
        (["--config", "report", "share", "/x"], ("share", ["--config", "report", "/x"])),
        (["--config=/x", "demo"], ("demo", ["--config=/x"])),
    ],
)
def test_the_command_is_found_among_the_options(argv: list[str], wanted: tuple[str, list[str]]) -> None:
    assert cli.split(argv) == wanted


@pytest.mark.parametrize(
    ("argv", "message", "hint"),
    [
        (["reprot"], "there is no command 'reprot'", "did you mean `mountwarden report`?"),
        (["mw-0123456789"], "there is no command 'mw-0123456789'", "did you mean `mountwarden explain mw-0123456789`?"),
        (["xyzzy"], "there is no command 'xyzzy'", "mountwarden --help lists the commands"),
        (["x\x1b[2J"], r"there is no command 'x\\x1b[2J'", "mountwarden --help lists the commands"),
        (["--al"], "report takes no --al", "did you mean --all?"),
        (["detach", "--dry"], "detach takes no --dry", "did you mean --dry-run?"),
        (["report", "--fail-on", "loud"], "argument --fail-on: invalid choice: 'loud'", "mountwarden report --help"),
        (["report", "--wait", "-1"], "argument --wait:", "mountwarden report --help"),
        (["explain"], "the following arguments are required: ID", "mountwarden explain --help"),
        (["detach"], "detach takes ids or --all, and not both", "mountwarden report lists the ids"),
        (["detach", "mw-0123456789", "--all"], "detach takes ids or --all", "mountwarden report lists the ids"),
        (["config"], "config takes check or show", "mountwarden config show --origin"),
        (["demo", "--json"], "demo takes no --json", "mountwarden demo --help"),
    ],
)
def test_bad_use_is_one_line_and_a_hint(
    argv: list[str], message: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(argv) == 2
    out, err = capsys.readouterr()
    first, second = err.splitlines()
    assert out == ""
    assert first.startswith(f"mountwarden: {message}")
    assert second == f"hint: {hint}"


def test_an_error_of_the_kernel_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_argv: Sequence[str]) -> int:
        raise FileNotFoundError(2, "No such file or directory", b"/a\x1b/b")

    monkeypatch.setattr(cli, "_dispatch", fail)
    assert cli.main([]) == 2
    assert capsys.readouterr().err == "mountwarden: /a\\x1b/b: No such file or directory\n"


def test_an_interrupt_is_quiet(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_argv: Sequence[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_dispatch", interrupted)
    assert cli.main([]) == 130
    assert capsys.readouterr() == ("", "")


def test_a_closed_pipe_is_quiet() -> None:
    command = [sys.executable, "-I", "-B", "-c", f"import sys; sys.path.insert(0, {str(AGENT)!r}); {RUN}", "--help"]
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_terminal_without_our_characters_is_no_error() -> None:
    code = "sys.stdout.reconfigure(encoding='ascii'); from mountwarden.cli.main import main; sys.exit(main(['--help']))"
    assert python(code + "; print('●')").returncode == 0


def test_help_lists_every_command_that_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    told = capsys.readouterr().out
    assert all(f"\n    {name} " in told for name in ("report", "explain", "watch", "plan", "detach", "share", "demo"))
    assert "examples:" in told


def test_every_command_has_help_and_the_common_options() -> None:
    top = cli.parser()
    actions = next(action for action in top._actions if action.dest == "COMMAND" or action.choices)
    assert actions.choices
    for name in actions.choices:
        sub = dict(actions.choices)[name]  # type: ignore[arg-type]
        text = sub.format_help()
        assert sub.description, name
        assert name == "config" or "--no-color" in text, name


BUILT = [name for name, module in cli.COMMANDS.items() if importlib.util.find_spec(f"mountwarden.cli.{module}")]


@pytest.mark.parametrize("command", BUILT)
def test_one_command_imports_no_other(command: str) -> None:
    module = f"mountwarden.cli.{cli.COMMANDS[command]}"
    others = {f"mountwarden.cli.{name}" for name in cli.COMMANDS.values()} - {module}
    code = f"from mountwarden.cli.main import parser; parser(({command!r},)); print(*sys.modules)"
    done = python(code)
    assert module in done.stdout.split(), done.stderr
    assert set(done.stdout.split()) & others == set()
