"""Line charts as plain SVG files: small, readable in any browser, in light and in dark."""

import math
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 720, 380
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 40, 50
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's, told apart by most people."""

Series = Mapping[str, Sequence[tuple[float, float]]]


def chart(title: str, across: str, up: str, series: Series) -> str:
    """A chart of lines; both axes begin at zero."""
    points = [point for line in series.values() for point in line]
    most_x, most_y = (_ceiling(max(values)) for values in zip(*points, strict=True))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"',
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="22" font-size="15">{escape(title)}</text>',
        *_axes(across, up, most_x, most_y),
    ]
    for number, (name, line) in enumerate(series.items()):
        parts += _line(name, line, COLOURS[number % len(COLOURS)], number, most_x, most_y)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _ceiling(value: float) -> float:
    """The next round number."""
    power = 10 ** math.floor(math.log10(value)) if value > 0 else 1
    return next(power * step for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if power * step >= value)


def _place(x: float, y: float, most_x: float, most_y: float) -> tuple[float, float]:
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    return round(LEFT + x / most_x * wide, 1), round(HEIGHT - BOTTOM - y / most_y * high, 1)


def _axes(across: str, up: str, most_x: float, most_y: float) -> list[str]:
    parts = []
    for fifth in range(6):
        x, y = _place(most_x * fifth / 5, most_y * fifth / 5, most_x, most_y)
        end, foot = WIDTH - RIGHT, HEIGHT - BOTTOM
        parts.append(f'<line x1="{LEFT}" x2="{end}" y1="{y}" y2="{y}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{most_y * fifth / 5:g}</text>')
        parts.append(f'<text x="{x}" y="{foot + 18}" text-anchor="middle">{most_x * fifth / 5:g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 12}" text-anchor="middle">{escape(across)}</text>')
    parts.append(f'<text transform="translate(18 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">{escape(up)}</text>')
    return parts


def _line(
    name: str, line: Sequence[tuple[float, float]], colour: str, number: int, most_x: float, most_y: float
) -> list[str]:
    places = [_place(x, y, most_x, most_y) for x, y in line]
    path = " ".join(f"{x},{y}" for x, y in places)
    label = TOP + 8 + 20 * number
    beside = WIDTH - RIGHT + 16
    return [
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>',
        *(f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in places),
        f'<line x1="{beside}" x2="{beside + 18}" y1="{label}" y2="{label}" stroke="{colour}" stroke-width="2"/>',
        f'<text x="{beside + 24}" y="{label + 4}">{escape(name)}</text>',
    ]
