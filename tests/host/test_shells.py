"""The completions at work in a real zsh and a real fish. A real bash is in tests/unit/test_manual.py."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from mountwarden.cli.main import COMMANDS

from tests.support import tree
from tests.support.machine import Machine

pytestmark = [pytest.mark.long, pytest.mark.timeout(120)]

EXTRAS = ("metrics", "shells")
"""The tree of test_monitoring: one build serves both."""
COMPLETIONS = Path(__file__).parents[2] / "packaging/completions"
PLACE = "/tmp/completions"
OFFERS = [
    ("mountwarden expl", "mountwarden explain"),
    ("mountwarden resu", "mountwarden resume"),
    ("mountwarden report --stri", "mountwarden report --strict"),
    ("mountwarden report --fail-on crit", "mountwarden report --fail-on critical"),
    ("mountwarden watch --verb", "mountwarden watch --verbose"),
    ("mountwarden config che", "mountwarden config check"),
]

ZSH = r"""
import os, pty, re, select, sys, time

pid, fd = pty.fork()
if pid == 0:
    os.execvp("zsh", ["zsh", "-f", "-i"])
seen = b""

def until(pattern):
    global seen
    end = time.monotonic() + 20
    while not (match := re.search(pattern, seen)):
        if not select.select([fd], [], [], end - time.monotonic())[0]:
            sys.exit(f"zsh did not say {pattern!r}: {seen[-2000:]!r}")
        seen += os.read(fd, 65536)
    seen = seen[match.end():]
    return match

os.write(fd, b"unset zle_bracketed_paste; PS1=; fpath=(%s $fpath)\r" % sys.argv[1].encode())
os.write(fd, b"autoload -U compinit; compinit -u -D\r")
os.write(fd, b"echo READY$((1+1))\r")
until(rb"READY2\r\n")
os.write(fd, sys.argv[2].encode() + b"\t")
os.write(fd, b"\x01echo OFFERED: \x05:END\r")
print(until(rb"\nOFFERED: ([^\r\n]*?) ?:END\r?\n")[1].decode().strip())
os.close(fd)
"""


@pytest.fixture(scope="module")
def host() -> Iterator[Machine]:
    """A test host from the tree that has zsh and fish, with the completions where each of them looks."""
    if reason := tree.obstacle(extras=EXTRAS):
        pytest.skip(reason)
    with Machine(extras=EXTRAS) as machine:
        machine.copy_in(COMPLETIONS / "mountwarden.zsh", f"{PLACE}/_mountwarden")
        machine.copy_in(COMPLETIONS / "mountwarden.fish", "/usr/share/fish/vendor_completions.d/mountwarden.fish")
        machine.write("/usr/local/bin/mountwarden", "#!/bin/sh\n", 0o755)
        yield machine


@pytest.mark.parametrize(("typed", "offered"), OFFERS)
def test_zsh_completes(host: Machine, typed: str, offered: str) -> None:
    assert host.python(ZSH, PLACE, typed).stdout.strip() == offered


def fish(host: Machine, typed: str) -> list[str]:
    """What fish offers for the last word."""
    done = host.run("fish", "-c", "complete -C $argv[1]", typed)
    assert done.stderr == ""
    return [line.split("\t")[0] for line in done.stdout.splitlines()]


@pytest.mark.parametrize(("typed", "offered"), OFFERS)
def test_fish_completes(host: Machine, typed: str, offered: str) -> None:
    assert fish(host, typed) == [offered.split()[-1]]


def test_fish_offers_every_command(host: Machine) -> None:
    assert set(fish(host, "mountwarden ")) >= COMMANDS.keys()


def test_both_files_have_no_error(host: Machine) -> None:
    host.run("zsh", "-n", f"{PLACE}/_mountwarden")
    host.run("fish", "--no-execute", "/usr/share/fish/vendor_completions.d/mountwarden.fish")
