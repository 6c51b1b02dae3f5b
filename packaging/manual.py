"""Writes packaging/man and packaging/completions from the one parser and docs/reference.md.

`python packaging/manual.py [DIRECTORY]`: DIRECTORY stands for packaging/. Needs shtab and argparse-manpage, which
packaging/lock/dev.txt has.
"""

import os
import re
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "agent"))
os.environ["COLUMNS"] = "80"  # argparse wraps its usage lines by it

import shtab  # noqa: E402
from argparse_manpage.manpage import Manpage  # noqa: E402
from mountwarden.cli.main import parser  # noqa: E402

SHELLS = ("bash", "zsh", "fish")
SUMMARY = "find mounts leaked into other mount namespaces, and force their detach"
PAGES = (("mountwarden", 1), ("mountwarden.toml", 5), ("mountwarden.report", 7), ("mountwarden.service", 8))
SEE_ALSO = ".SH SEE ALSO\n" + ",\n".join(f".BR {name} ({section})" for name, section in PAGES) + "\n"


def main() -> None:
    """Write all files."""
    to = Path(sys.argv[1]) if len(sys.argv) > 1 else PROJECT / "packaging"
    for name in ("man", "completions"):
        (to / name).mkdir(parents=True, exist_ok=True)
    (to / "man/mountwarden.1").write_text(command_page())
    (to / "man/mountwarden.toml.5").write_text(
        page("mountwarden.toml", 5, "configuration of mountwarden", "Configuration")
    )
    (to / "man/mountwarden.report.7").write_text(
        page("mountwarden.report", 7, "the JSON report of mountwarden", "The report's JSON")
    )
    for shell in SHELLS:
        text = shtab.complete(parser(), shell=shell)
        clean = "\n".join(line.rstrip() for line in text.split("\n")).rstrip("\n") + "\n"
        mark = "# shellcheck disable=all # made by packaging/manual.py\n" if shell == "bash" else ""
        (to / f"completions/mountwarden.{shell}").write_text(mark + clean)


def head(name: str, section: int, summary: str) -> str:
    """Title and name of a page."""
    return f'.TH {name.upper()} {section} "" "mountwarden" "mountwarden"\n.SH NAME\n{name} \\- {summary}\n'


def command_page() -> str:
    """mountwarden.1, without the date of its making: the same parser gives the same bytes."""
    top = parser()
    top._prog = "mountwarden"  # type: ignore[attr-defined]
    text = str(Manpage(top, format="single-commands-section"))
    body = text[text.index(".SH SYNOPSIS") :].replace(".SH\nCOMMANDS", ".SH COMMANDS")
    return head("mountwarden", 1, SUMMARY) + body.rstrip("\n") + "\n" + SEE_ALSO


def page(name: str, section: int, summary: str, heading: str) -> str:
    """A page from one chapter of docs/reference.md."""
    chapter = (PROJECT / "docs/reference.md").read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    return head(name, section, summary) + ".SH DESCRIPTION\n" + "".join(blocks(chapter)) + SEE_ALSO


def blocks(chapter: str) -> list[str]:
    """Paragraphs as they are, each row of a table as a tagged paragraph."""
    written = []
    for block in re.split(r"\n\n+", chapter.strip()):
        rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in block.split("\n") if line[0] == "|"]
        if not rows:
            written.append(".PP\n" + roff(block) + "\n")
        written += [tagged(rows[0], row) for row in rows[2:]]
    return written


def tagged(names: list[str], row: list[str]) -> str:
    """`name`, then what it means, then its other columns."""
    more = "; ".join(f"{name}: {cell}" for name, cell in zip(names[1:-1], row[1:-1], strict=True) if cell)
    text = ". ".join(part for part in (row[-1][:1].upper() + row[-1][1:], more[:1].upper() + more[1:]) if part)
    return f".TP\n\\fB{roff(row[0])}\\fR\n{roff(text)}.\n"


def roff(text: str) -> str:
    """Plain text as roff reads it."""
    plain = text.replace("`", "").replace("\\", "\\e").replace("-", "\\-")
    return "\n".join("\\&" + line if line[:1] in (".", "'") else line for line in plain.split("\n"))


if __name__ == "__main__":
    main()
