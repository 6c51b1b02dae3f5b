"""The map as one SVG file: no script, no font, nothing to load; for light and dark screens.

Each mount of a home that holds roots is a panel: the mount with its roots at the left, the namespaces that show them at
the right. A line with an arrow is propagation; a stub with a cross is where it is cut off.
"""

from dataclasses import dataclass, field
from html import escape

from ...report.map_types import BaseJson, MapJson
from ..columns import count, fit, isolated, wrap
from . import fold

_WIDTH, _MARGIN = 960, 24
_LEFT = 330
"""Width of the box of the mount of home."""
_TRUNK, _ROWS = 446, 478
"""Where the lines branch, and where the namespaces' boxes begin."""
_HIGH, _GAP = 40, 8
_PANEL = 28
_LINE = 17
_CHARACTER = 7.25
"""Columns of a monospaced font at 12 px, in px."""
_MOST_ROOTS = 6

_STYLE = """\
svg{--bg:#fff;--fg:#1f2328;--dim:#59636e;--box:#f6f8fa;--edge:#afb8c1;
--leaked:#cf222e;--leaks:#9a6700;--cut-off:#0969da;--healthy:#1a7f37}
@media(prefers-color-scheme:dark){svg{--bg:#0d1117;--fg:#e6edf3;--dim:#9198a1;--box:#161b22;--edge:#57606a;
--leaked:#ff7b72;--leaks:#e3b341;--cut-off:#58a6ff;--healthy:#3fb950}}
text{font:12px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,'Noto Sans Mono CJK SC',monospace;
fill:var(--fg);white-space:pre}
.title{font-size:17px;font-weight:bold}.bold{font-weight:bold}.dim{fill:var(--dim)}.page{fill:var(--bg)}
.box{fill:var(--box);stroke:var(--edge)}.home{fill:var(--box);stroke:var(--fg);stroke-width:1.5}
.line{fill:none;stroke:var(--healthy);stroke-width:1.5}.tip{fill:var(--healthy)}
.cut{fill:none;stroke-width:1.5;stroke-dasharray:4 3}.cross{fill:none;stroke-width:2}
.leaked{stroke:var(--leaked)}.leaks{stroke:var(--leaks)}.cut-off{stroke:var(--cut-off)}.healthy{stroke:var(--healthy)}
.bar{stroke:none}.bar.leaked,.t.leaked{fill:var(--leaked)}.bar.leaks,.t.leaks{fill:var(--leaks)}
.bar.cut-off,.t.cut-off{fill:var(--cut-off)}.bar.healthy,.t.healthy{fill:var(--healthy)}.t{stroke:none}
"""


@dataclass(slots=True)
class _Page:
    """Elements as they are drawn, and how far down the page they reach."""

    y: float = _MARGIN
    parts: list[str] = field(default_factory=list)

    def add(self, *elements: str) -> None:
        self.parts += elements


def render(chart: MapJson, *, everything: bool = False) -> str:
    """The SVG document, ending in a newline."""
    page = _Page()
    level, text = fold.headline(chart)
    _head(page, level, text, fold.figures(chart))
    for base in chart["bases"]:
        _panel(page, base, everything=everything)
    _notes(page, chart)
    _legend(page)
    height = int(page.y + _MARGIN)
    size = f'width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}"'
    start = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    about = f"<title>{escape(text)}</title><desc>{escape(fold.figures(chart))}</desc><style>{_STYLE}</style>"
    return (
        "\n".join([start, about, f'<rect class="page" width="{_WIDTH}" height="{height}"/>', *page.parts, "</svg>"])
        + "\n"
    )


def _text(x: float, y: float, text: str, css: str = "") -> str:
    kind = f' class="{css}"' if css else ""
    return f'<text x="{x:g}" y="{y:g}"{kind}>{escape(isolated(text))}</text>'


def _columns(width: float) -> int:
    return int(width / _CHARACTER)


def _head(page: _Page, level: str, text: str, facts: str) -> None:
    for line in wrap(text, _columns(_WIDTH - 2 * _MARGIN) * 12 // 17):
        page.add(_text(_MARGIN, page.y + 14, line, f"title t {level}"))
        page.y += 22
    for line in wrap(facts, _columns(_WIDTH - 2 * _MARGIN)):
        page.add(_text(_MARGIN, page.y + 14, line, "dim"))
        page.y += _LINE
    page.y += 16


def _panel(page: _Page, base: BaseJson, *, everything: bool) -> None:
    top = page.y
    rows = fold.lines(base, everything=everything)
    left = _home(page, base, top)
    middles = []
    for at, line in enumerate(rows):
        y = top + at * (_HIGH + _GAP)
        _row(page, line, y)
        middles.append((line, y + _HIGH / 2))
    _lines(page, top + 22, middles)
    page.y = max(left, top + len(rows) * (_HIGH + _GAP) - _GAP) + _PANEL


def _home(page: _Page, base: BaseJson, top: float) -> float:
    """The box of the mount of home; returns where it ends."""
    room = _columns(_LEFT - 24)
    texts = [(fit(base["at"], room), "bold")]
    texts += [(line, "dim") for line in wrap(f"{fold.about(base)}; {base['fstype']}", room)]
    for root in base["roots"][:_MOST_ROOTS]:
        texts += [(fit(root["path"], room), ""), (f"  {root['engine']}, {root['kind']}: {root['live']:,} live", "dim")]
    if more := len(base["roots"]) - _MOST_ROOTS:
        texts += [(f"and {count(more, 'more root')}", "dim")] if more > 0 else []
    height = len(texts) * _LINE + 16
    tip = "\n".join(fold.root_name(root) for root in base["roots"])
    page.add(
        f"<g><title>{escape(base['at'])}\n{escape(tip)}</title>",
        f'<rect class="home" x="{_MARGIN}" y="{top:g}" width="{_LEFT}" height="{height}" rx="6"/>',
        *(_text(_MARGIN + 12, top + 20 + at * _LINE, text, css) for at, (text, css) in enumerate(texts)),
        "</g>",
    )
    return top + height


def _row(page: _Page, line: fold.MapLine, y: float) -> None:
    wide = _WIDTH - _MARGIN - _ROWS
    room = _columns(wide - 26)
    inode = line.namespaces[0]["namespace"]
    tip = line.names if line.folded else f"{line.who}: mount namespace {inode}"
    behind = f'<rect class="box" x="{_ROWS + 4}" y="{y + 4:g}" width="{wide}" height="{_HIGH}" rx="5"/>'
    page.add(
        f"<g><title>{escape(tip)}</title>",
        *((behind,) if line.folded else ()),
        f'<rect class="box" x="{_ROWS}" y="{y:g}" width="{wide}" height="{_HIGH}" rx="5"/>',
        f'<rect class="bar {line.level}" x="{_ROWS}" y="{y:g}" width="5" height="{_HIGH}" rx="2"/>',
        _text(_ROWS + 16, y + 16, fit(line.who, room), "bold"),
        _text(_ROWS + 16, y + 32, fit(line.what, room), f"t {line.level}"),
        "</g>",
    )


def _lines(page: _Page, y: float, middles: list[tuple[fold.MapLine, float]]) -> None:
    """The trunk to all that umounts reach, and a crossed stub at each that they do not reach."""
    start = _MARGIN + _LEFT
    reached = [middle for line, middle in middles if line.relation in ("slave", "peer")]
    if reached:
        low, high = min(y, *reached), max(y, *reached)
        page.add(f'<path class="line" d="M{start} {y:g}H{_TRUNK}M{_TRUNK} {low:g}V{high:g}"/>')
    for line, middle in middles:
        if line.relation in ("slave", "peer"):
            page.add(f'<path class="line" d="M{_TRUNK} {middle:g}H{_ROWS - 6}"/>', _tip(_ROWS, middle, 1))
            if line.relation == "peer":
                page.add(_tip(_TRUNK + 2, middle, -1))
        else:
            page.add(_cut(line.level, middle))


def _tip(x: float, y: float, way: int) -> str:
    return f'<path class="tip" d="M{x:g} {y:g}l{-8 * way} -4v8z"/>'


def _cut(level: str, y: float) -> str:
    x = _TRUNK + 12
    return (
        f'<path class="cut {level}" d="M{x + 6} {y:g}H{_ROWS}"/>'
        f'<path class="cross {level}" d="M{x - 4} {y - 4:g}l8 8m0 -8l-8 8"/>'
    )


def _notes(page: _Page, chart: MapJson) -> None:
    for note in fold.notes(chart):
        for line in wrap(note, _columns(_WIDTH - 2 * _MARGIN), rest="  "):
            page.add(_text(_MARGIN, page.y + 8, line, "dim"))
            page.y += _LINE


def _legend(page: _Page) -> None:
    y = page.y + 14
    page.add(
        f'<path class="line" d="M{_MARGIN} {y - 4:g}h24"/>',
        _tip(_MARGIN + 32, y - 4, 1),
        _text(_MARGIN + 40, y, "umounts on the host reach it", "dim"),
        f'<path class="line" d="M{_MARGIN + 256} {y - 4:g}h24"/>',
        _tip(_MARGIN + 288, y - 4, 1),
        _tip(_MARGIN + 250, y - 4, -1),
        _text(_MARGIN + 296, y, "a peer: both ways", "dim"),
        f'<path class="cut cut-off" d="M{_MARGIN + 440} {y - 4:g}h24"/>',
        f'<path class="cross cut-off" d="M{_MARGIN + 428} {y - 8:g}l8 8m0 -8l-8 8"/>',
        _text(_MARGIN + 472, y, "cut off: what it holds stays", "dim"),
        f'<path class="bar leaked" d="M{_MARGIN + 700} {y - 10:g}h5v14h-5z"/>',
        _text(_MARGIN + 711, y, "leaked", "dim"),
        f'<path class="bar leaks" d="M{_MARGIN + 780} {y - 10:g}h5v14h-5z"/>',
        _text(_MARGIN + 791, y, "will leak", "dim"),
    )
    page.y = y
