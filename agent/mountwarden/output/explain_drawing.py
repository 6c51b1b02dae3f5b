"""What explain draws: the timeline, and how an umount propagates from home to the copy."""

from collections.abc import Iterable

from ..report import types
from .columns import count, fit, pad, width, wrap
from .terminal import Terminal

NOT_KNOWN = "not known"
_NARROW = 64
"""Columns below which a time stands on a line of its own."""


def timeline(moments: Iterable[types.MomentJson], terminal: Terminal) -> Iterable[str]:
    """One paragraph for each moment: when, what, and how that is known."""
    for moment in moments:
        when, text = short(moment["at"]) or NOT_KNOWN, _said(moment)
        if terminal.columns < _NARROW:
            yield from wrap(when, terminal.columns, first="  ", rest="  ")
            yield from wrap(text, terminal.columns, first="    ", rest="    ")
        else:
            rest = " " * 24
            yield from wrap(text, terminal.columns, first="  " + pad(when, 22), rest=rest)


def short(moment: str | None) -> str | None:
    """A timestamp to the second, as journalctl --utc would have it."""
    return moment and moment.split(".")[0].replace("T", " ").removesuffix("Z") + "Z"


def _said(moment: types.MomentJson) -> str:
    bounds = [f"{word} {short(at)}" for word, at in _bounds(moment) if at]
    how = [moment["source"]] if moment["source"] and moment["source"] not in moment["text"] else []
    more = ", ".join([*bounds, *how])
    text = moment["text"]
    if moment["source"] == "journal" and not text.startswith(moment["what"]):
        text = f"{moment['what']}: {text}" if text else moment["what"]
    return text + (f" ({more})" if more else "")


def _bounds(moment: types.MomentJson) -> tuple[tuple[str, str | None], ...]:
    return ("not before", moment["after"]), ("not after", moment["before"])


def chain(document: types.ChainJson, terminal: Terminal) -> Iterable[str]:
    """Home above, the holder below it, and between them whether umounts propagate."""
    yield from _side(document["home"], terminal)
    if document["group"]:
        yield from wrap(_members(document["group"]), terminal.columns, first="  ", rest="    ")
    yield from _between(document["broken"], terminal)
    if document["holder"]:
        yield from _side(document["holder"], terminal)


def _members(group: types.GroupJson) -> str:
    if not group["peers"] and not group["slaves"]:
        return f"peer group {group['id']} is in no other mount namespace"
    parts = [
        f"{number:,} as {word}" for word, number in (("peer", group["peers"]), ("slave", group["slaves"])) if number
    ]
    others = count(group["peers"] + group["slaves"], "other mount namespace")
    return f"peer group {group['id']} is in {others}: {', '.join(parts)}"


def _between(broken: str | None, terminal: Terminal) -> Iterable[str]:
    sign, text = (terminal.glyph("✗"), broken) if broken else (terminal.glyph("↓"), "umounts on the host reach it")
    lines = wrap(f"{sign} {text}", terminal.columns, first="  ", rest="    ")
    yield from (terminal.paint(line, "red") if broken else line for line in lines)


def _side(side: types.SideJson, terminal: Terminal) -> Iterable[str]:
    where = f", mount namespace {side['namespace']}" if side["namespace"] is not None else ""
    yield from wrap(side["who"] + where, terminal.columns, first="  ", rest="    ")
    depth = 0
    for level in side["levels"]:
        yield from _node(level["point"], _propagation(level), depth, terminal, cut=level["cut"])
        depth += 1
    if not side["levels"] or side["levels"][-1]["point"] != side["mountpoint"] or side["mount"]:
        mount = side["mount"] or "not mounted any more"
        yield from _node(side["mountpoint"], mount, depth, terminal)


def _propagation(level: types.LevelJson) -> str:
    groups = [f"peer group {level['peer_group']}"] if level["peer_group"] else []
    groups += [f"slave of {level['master']}"] if level["master"] else []
    return ", ".join(groups) or level["propagation"]


def _node(path: str, detail: str, depth: int, terminal: Terminal, *, cut: bool = False) -> Iterable[str]:
    """A mountpoint and what is known of it, on one line where that fits and else on two."""
    start = "  " + "  " * min(depth, 6) + terminal.glyph("└") + " "
    end = f"{detail} {terminal.glyph('✗')} cut here" if cut else detail
    line = f"{start}{path}  {end}"
    if width(line) <= terminal.columns:
        yield terminal.paint(line, "red") if cut else line
        return
    yield start + fit(path, terminal.columns - width(start), ellipsis=terminal.glyph("…"))
    rest = " " * width(start)
    lines = wrap(end, terminal.columns, first=rest, rest=rest)
    yield from (terminal.paint(line, "red") if cut else line for line in lines)
