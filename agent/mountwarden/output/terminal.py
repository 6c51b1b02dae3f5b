"""What the stream that we write to can show: colours, characters, columns."""

import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TextIO

from .columns import isolated

_CODES = {"red": "1;31", "yellow": "33", "blue": "34", "green": "32", "bold": "1", "dim": "2"}
_GLYPHS = {
    "●": "*",
    "○": "o",
    "├": "|",
    "└": "`",
    "│": "|",
    "→": "->",
    "↓": "v",
    "…": "...",
    "·": "-",
    "✓": "ok",
    "✗": "x",
}


@dataclass(frozen=True, slots=True)
class Terminal:
    """How to write: in how many columns, with colours or without, in which characters."""

    columns: int = 80
    colour: bool = False
    ascii: bool = False
    interactive: bool = False
    """Somebody sits at the terminal: progress may be shown and questions asked."""
    bidi: bool = False
    """It may support bidirectional text: right-to-left names are isolated from the text beside them."""

    def paint(self, text: str, style: str) -> str:
        """The text in a colour, where colours are shown at all."""
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if self.colour and text else text

    def lines(self, lines: Iterable[str]) -> str:
        """Lines as they are to be written, each with its newline."""
        return "".join(f"{isolated(line) if self.bidi else line}\n" for line in lines)

    def glyph(self, character: str) -> str:
        """One of our own signs, or its stand-in where the stream's encoding lacks it."""
        return _GLYPHS[character] if self.ascii else character


def of(stream: TextIO, environ: Mapping[str, str] = os.environ, *, no_color: bool = False) -> Terminal:
    """What `stream` can show. NO_COLOR, SYSTEMD_COLORS and TERM=dumb turn colours off; COLUMNS sets the width."""
    interactive = stream.isatty()
    encoding = (getattr(stream, "encoding", None) or "ascii").lower().replace("-", "")
    columns = shutil.get_terminal_size((80, 24)).columns if interactive or "COLUMNS" in environ else 80
    colour = interactive and not no_color and not _colours_off(environ)
    utf = encoding.startswith("utf")
    # The kernel's own console knows nothing of it, and shows the marks.
    bidi = interactive and utf and environ.get("TERM") not in ("dumb", "linux")
    return Terminal(max(20, columns), colour, not utf, interactive, bidi)


def _colours_off(environ: Mapping[str, str]) -> bool:
    off = environ.get("SYSTEMD_COLORS", "").lower() in ("0", "no", "n", "f", "false", "off")
    return bool(environ.get("NO_COLOR")) or off or environ.get("TERM") == "dumb"
