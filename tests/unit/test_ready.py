"""What is imported before the service is ready: engines wait for that at each boot."""

import subprocess
import sys

from mountwarden.cli import agent, main
from mountwarden.cli.options import parse

from tests.support.product import PROJECT

BEFORE = ("cli.main", "cli.agent", "service.preflight", "state.lock", "config.load", "service.triggers")
COSTLY = {
    *("argparse", "subprocess", "difflib", "pickle", "hashlib", "json"),
    *("mountwarden.model.host", "mountwarden.systemd.units", "mountwarden.systemd.own_unit"),
}
"""What takes as long as the start of Python itself, and is needed by what comes later."""


def test_little_is_imported_before_the_service_is_ready() -> None:
    code = f"import sys; sys.path.insert(0, {str(PROJECT / 'agent')!r})\n"
    code += "".join(f"import mountwarden.{name}\n" for name in BEFORE) + "print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert "mountwarden.model.enums" in loaded
    assert loaded & COSTLY == set()


def test_without_options_it_is_what_the_parser_makes_of_none() -> None:
    parsed = vars(parse(main.parser(("agent",)), ["agent"]))
    assert {key: value for key, value in parsed.items() if key in vars(agent.WITHOUT_OPTIONS)} == vars(
        agent.WITHOUT_OPTIONS
    )
    assert parsed.keys() - vars(agent.WITHOUT_OPTIONS).keys() <= {"run", "version", "no_color"}
    assert parsed["run"] is agent.run
