"""Every command, on a host whose name acts on terminals and with arguments that do: what is printed is text."""

import contextlib
import io
import json
import os
import re
import socket
from collections.abc import Iterator
from xml.etree import ElementTree

from mountwarden.cli.main import COMMANDS, main
from mountwarden.kernel import syscalls

from tests.kernel import crash
from tests.support.scratch_ns import Sandbox

HOST = "h\x1b[2J\u202e\x9b\n<&x"
BAD = "/mnt/a\x1b[2J\u202e\x9b\n\r<&'\"\udcff\u2066\ufffe"
ID = "mw-0000000000"

ENDLESS = frozenset({"watch", "agent", "graphdriver", "demo"})
"""Those are given what they refuse."""
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


WORD = json.dumps(BAD.replace("\udcff", "")).replace("\\udcff", "")
CONFIGS = (
    f"{WORD} = 1",
    f"mode = {WORD}",
    f"[[root]]\npath = {WORD}\nkind = {WORD}",
    f"[confirm]\nlayer = {WORD}\n{WORD} = 2",
    f"[[policy]]\naction = {WORD}",
    f"[[silence]]\nid = {WORD}\nreason = {WORD}",
    "a = \x1b[2J",
)


def configured() -> Iterator[list[str]]:
    """Command lines with a configuration that is wrong, or a file that is no snapshot."""
    for number, text in enumerate(CONFIGS):
        place = f"/mnt/config{number}{HOST}"
        os.mkdir(place)
        for name in ("mountwarden.toml", "snapshot"):
            with open(f"{place}/{name}", "w", encoding="utf-8") as file:
                file.write(text)
        yield from (["config", "check", "--config", place], ["config", "show", "--config", place])
        yield from (["report", "--config", place, "--no-wait"], ["report", "--from", f"{place}/snapshot"])


def lines() -> Iterator[list[str]]:
    """Command lines: each command with a hostile word, option, value, directory and host, and its own ones."""
    for command in COMMANDS:
        yield from ([command, f"--{BAD}"], [command, "--tier", BAD], [command, "-H", f"-{BAD}"], [command, *[BAD] * 3])
        if command not in ENDLESS:
            yield from ([command, "--config", BAD, BAD], [command, "--json", BAD])
    yield from ([BAD], [f"-{BAD}"], [f"mw-{BAD}"], ["--config", BAD, BAD])
    for command in ("report", "map", "doctor"):
        yield from ([command], [command, "--json"])
    yield from (["map", one] for one in ("--svg", "--dot"))
    yield from (["explain", BAD], ["who", BAD], ["predict", "umount", BAD], ["report", "--from", BAD], ["npd"])
    yield from (["report", option, BAD] for option in ("--root", "--unit", "--engine", "--kind", "--fail-on", "--wait"))
    yield from (["detach", "--json", "--dry-run", BAD], ["plan", "--json", BAD], ["history", "--since", BAD, BAD])
    yield from (["silence", BAD], ["silence", ID, "--for", BAD], ["pause", "--for", BAD], ["status", BAD])
    yield from (["snapshot", f"{BAD}/x"], ["config", "check", "--config", BAD], ["config", BAD])
    layer = ["layer", "--home", f"/mnt/{HOST}"]
    yield from ([*layer, "create", BAD], [*layer, "create", "a"], [*layer, "metadata", "a"], [*layer, "ls"])
    yield from ([*layer, "rm", BAD], [*layer, "apply", "a", "-i", BAD], [*layer, "metadata", BAD], [*layer, "get", BAD])
    yield from (["graphdriver", "--name", BAD, BAD], ["agent", "--config", BAD, BAD], ["watch", "--json", BAD])


def printed(words: list[str]) -> str:
    """What a command line writes to both streams."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="surrogateescape") for _ in range(2)]
    out, err = contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1])
    with out, err, contextlib.suppress(SystemExit):  # argparse's own
        main(words)
    told, said = (_text(stream) for stream in streams)
    if "--json" in words and told.startswith(("{", "[")):
        json.loads(told)
    if "--svg" in words:
        ElementTree.fromstring(told)
    return told + said


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode("utf-8", "surrogateescape")


def test_nothing_that_acts_on_a_terminal_is_printed() -> None:
    def run(_sandbox: Sandbox) -> list[str]:
        syscalls.unshare(0x04000000)  # CLONE_NEWUTS
        socket.sethostname(HOST)
        os.environ["PATH"] = ""  # neither ssh nor journalctl is asked
        syscalls.mount(b"tmpfs", b"/run", b"tmpfs")
        wrong = []
        for words in (*lines(), *configured()):
            told = printed(words)
            if CONTROL.search(told) or f"\n{HOST.partition(chr(10))[2]}" in told:
                wrong.append(ascii((words, told[:300])))
            if words == ["report"]:
                assert r"on h\x1b[2J" in told, "the host's name is shown"
        return wrong

    assert crash.in_few_processes(run, 50) == []
