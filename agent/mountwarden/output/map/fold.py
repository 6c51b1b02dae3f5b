"""What the map shows of each base: namespaces with leaks one by one, healthy ones folded into counts."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ...report.map_types import BaseJson, MapJson, MapRootJson, RowJson
from .. import phrases
from ..columns import count

MOST = 10
"""Namespaces with leaks that are shown for each base one by one; the rest is a count."""
_NAMED = 40
"""Names that a folded line lists at most, where there is room for them."""

_KINDS = {
    "service": "service",
    "container": "container",
    "process": "process",
    "bare": "namespace without a process",
    "home": "second mount",
}
_PLURALS = {"process": "processes", "bare": "namespaces without a process"}


@dataclass(frozen=True, slots=True)
class MapLine:
    """One namespace, or many folded into one line."""

    level: str
    """leaked, leaks, cut-off or healthy."""
    relation: str
    who: str
    what: str
    """In words: what it holds and how it is reached."""
    namespaces: tuple[RowJson, ...]
    folded: bool = False

    @property
    def names(self) -> str:
        """Who is folded, as far as there is room."""
        parts_shown = [row["who"] for row in self.namespaces[:_NAMED]]
        more = len(self.namespaces) - len(parts_shown)
        return ", ".join(parts_shown) + (f" and {more} more" if more else "")


def level(row: RowJson) -> str:
    """How bad it is."""
    if row["leaked"] or row["unconfirmed"]:
        return "leaked"
    if row["leaks"]:
        return "leaks"
    return "healthy" if row["relation"] in ("peer", "slave") else "cut-off"


def lines(base: BaseJson, *, everything: bool = False) -> list[MapLine]:
    """The base's namespaces, the worst first; `everything`: none is folded."""
    by_level: dict[str, list[RowJson]] = {"leaked": [], "leaks": [], "cut-off": [], "healthy": []}
    for row in base["namespaces"]:
        by_level[level(row)].append(row)
    if everything:
        return [_single(row) for rows in by_level.values() for row in rows]
    parts_shown = _first([*by_level["leaked"], *by_level["leaks"]])
    # Where nothing is mounted, who is cut off matters less.
    live = any(root["live"] for root in base["roots"])
    parts_shown += _few(by_level["cut-off"], "cut-off", "cut off", 3 if live else 1)
    for relation in ("slave", "peer"):
        parts_shown += _few(
            [row for row in by_level["healthy"] if row["relation"] == relation], relation, f"{relation}s", 1
        )
    return parts_shown


def _first(rows: list[RowJson]) -> list[MapLine]:
    """The worst ones by themselves. A line for the rest that stands for one namespace would say less than it could."""
    most = len(rows) if len(rows) <= MOST + 1 else MOST
    return [_single(row) for row in rows[:most]] + ([_rest(rows[most:])] if rows[most:] else [])


def _few(rows: list[RowJson], relation: str, name: str, most: int) -> list[MapLine]:
    """Up to `most` by themselves; more of them in one line."""
    return [_single(row) for row in rows] if len(rows) <= most else [_together(relation, name, rows)]


def _single(row: RowJson) -> MapLine:
    return MapLine(level(row), row["relation"], row["who"], _what(row), (row,))


def _what(row: RowJson) -> str:
    if row["relation"] == "slave":
        reached = f"slave of peer group {row['master']}" if row["master"] else "slave further down"
    else:
        reached = {"peer": "peer", "cut-off": "cut off", "elsewhere": "bound elsewhere"}[row["relation"]]
    held = _held((row,), row["relation"])
    return f"{reached}: {held}"


def _held(rows: Sequence[RowJson], relation: str) -> str:
    """What is in these namespaces, in numbers."""
    copies, leaks, spared = (sum(row[key] for row in rows) for key in ("copies", "leaks", "on_purpose"))
    parts = [
        (sum(row["leaked"] for row in rows), "leaked"),
        (sum(row["unconfirmed"] for row in rows), "not confirmed"),
        (leaks, "will leak"),
        (spared, "kept on purpose"),
    ]
    parts_shown = [f"{many:,} {what}" for many, what in parts if many]
    if within := copies - leaks - spared:
        parts_shown.append(f"{count(within, 'copy', 'copies')} within reach")
    nothing = "holds nothing now" if len(rows) == 1 else "hold nothing now"
    return ", ".join(parts_shown) or (nothing if relation == "cut-off" else "no copy now")


def _rest(rows: Sequence[RowJson]) -> MapLine:
    worst = "leaked" if any(level(row) == "leaked" for row in rows) else "leaks"
    return MapLine(worst, "cut-off", f"and {len(rows):,} more", _held(rows, "cut-off"), tuple(rows), folded=True)


def _together(relation: str, name: str, rows: Sequence[RowJson]) -> MapLine:
    kinds = Counter(row["kind"] for row in rows)
    ranked = sorted(kinds.items(), key=lambda kind: -kind[1])
    who = ", ".join(count(many, _KINDS.get(kind, kind), _PLURALS.get(kind)) for kind, many in ranked)
    text = f"{name}: {_held(rows, relation)}"
    return MapLine("cut-off" if relation == "cut-off" else "healthy", relation, who, text, tuple(rows), folded=True)


def headline(chart: MapJson) -> tuple[str, str]:
    """(how bad it is, the map in one sentence)."""
    parts_shown = chart["summary"]
    levels = (
        (parts_shown["leaked"], "leaked", "leaked"),
        (parts_shown["unconfirmed"], "not confirmed", "leaked"),
        (parts_shown["leaks"], "will leak", "leaks"),
    )
    parts = [(f"{many:,} {words}", level) for many, words, level in levels if many]
    if parts:
        return parts[0][1], f"{' and '.join(text for text, _level in parts)} on {chart['host']['hostname']}"
    if parts_shown["cut_off"]:
        return "cut-off", f"{count(parts_shown['cut_off'], 'namespace')} cut off on {chart['host']['hostname']}"
    if not chart["bases"]:
        return "cut-off", f"no root was seen on {chart['host']['hostname']}"
    return "healthy", f"every umount reaches every copy on {chart['host']['hostname']}"


def figures(chart: MapJson) -> str:
    """How much there is."""
    parts_shown = chart["summary"]
    parts = [
        count(parts_shown["roots"], "root"),
        count(parts_shown["namespaces"], "mount namespace"),
        *((f"{parts_shown['without']:,} of them with none of the roots",) if parts_shown["without"] else ()),
        count(parts_shown["mounts"], "mount"),
    ]
    if not chart["complete"]:
        parts.append("not everything could be read")
    return ", ".join(parts)


def about(base: BaseJson) -> str:
    """How the mount of home propagates."""
    group = f", peer group {base['peer_group']}" if base["peer_group"] else ""
    on_purpose = base["roots"] and all(root["wants_private"] for root in base["roots"]) and not base["peer_group"]
    return f"{base['propagation']}{group}" + (" (its engine makes it so)" if on_purpose else "")


def root_name(root: MapRootJson) -> str:
    """A root in one line."""
    return f"{root['path']} ({root['engine']}, {root['kind']}): {root['live']:,} live"


def notes(chart: MapJson) -> list[str]:
    """What could not be read or judged."""
    lines = [f"{root['path']} ({root['engine']}) could not be judged: {root['status']}" for root in chart["unjudged"]]
    return lines + [phrases.gap(gap) for gap in chart["gaps"]]
