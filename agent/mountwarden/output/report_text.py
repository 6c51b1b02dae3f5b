"""The report as text: grouped by holder, the worst first; what is wrong, why, and what to do."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..escape import seconds
from ..model import Action, Kind, Severity
from ..report import types
from ..report.build import blind, counts
from . import phrases
from .columns import age, command, cost, count, fit, pad, width, wrap
from .terminal import Terminal

_MOST = 10
"""Findings of one group that are listed; `--all` lists every one."""

_COLOURS = {"critical": "red", "warning": "yellow", "info": "blue"}


@dataclass(frozen=True, slots=True)
class View:
    """How a report is shown."""

    terminal: Terminal
    now: float
    """Seconds since the Epoch; ages count from it."""
    all: bool = False
    """Info too, and long groups in full."""
    note: str | None = None
    """Where the report comes from, when it is not of now."""
    about: str = ""
    """What its findings are about, where only some were asked for."""
    hidden: int = 0
    """Findings of others, without info and silenced ones."""


@dataclass(frozen=True, slots=True)
class FindingGroup:
    """Findings of one kind, cause and remedy, of one holder."""

    holder: str
    findings: tuple[types.FindingJson, ...]

    @property
    def first(self) -> types.FindingJson:
        """The one that stands for the others."""
        return self.findings[0]


def render(report: types.ReportJson, view: View) -> str:
    """The report as text, ending in a newline."""
    lines = list(_head(report, view))
    last: FindingGroup | None = None
    for group in groups(_visible(report["findings"], view)):
        if last is None or group.holder != last.holder:
            lines += ["", view.terminal.paint(_cut(group.holder, view.terminal.columns, view.terminal), "bold")]
            last = None
        lines += _group(group, last, report["findings"], view)
        last = group
    feet = list(_feet(report, view))
    return view.terminal.lines(lines + ([""] if feet else []) + feet)


def groups(findings: Iterable[types.FindingJson]) -> list[FindingGroup]:
    """Findings by holder, each holder where its worst one stands; within it by what is wrong and why."""
    by_holder: dict[tuple[object, ...], dict[tuple[object, ...], list[types.FindingJson]]] = {}
    for finding in findings:
        what = phrases.wrong(finding)
        key = (what, finding["severity"], _unlisted(finding), _because(finding), _remedy_key(finding))
        held = (*phrases.all_holders(finding), phrases.unnamed(finding))
        by_holder.setdefault(held, {}).setdefault(key, []).append(finding)
    groups = (some for parts in by_holder.values() for some in parts.values())
    return [FindingGroup(phrases.holder(some[0]), tuple(some)) for some in groups]


def listed(report: types.ReportJson) -> int:
    """How many findings are listed without `--all`."""
    return sum(finding["severity"] != "info" and not finding["silenced"] for finding in report["findings"])


def _visible(findings: Iterable[types.FindingJson], view: View) -> list[types.FindingJson]:
    return [f for f in findings if view.all or (f["severity"] != "info" and not f["silenced"])]


def _unlisted(finding: types.FindingJson) -> str | None:
    if finding["silenced"]:
        return "silenced"
    return None if finding["confirmed"] else "not confirmed"


def _offered(finding: types.FindingJson) -> tuple[types.RemedyJson | None, types.RemedyJson | None]:
    """The remedy that is shown, and the one before it that the service declined, or that can't be had, if any is.

    A remedy of ours without a command gives way to a later one that has one.
    """
    remedies = finding["remedies"]
    first = remedies[0] if remedies else None
    if first is None or (first["command"] and not first["declined"]):
        return first, None
    later = next((one for one in remedies[1:] if one["command"] and not one["declined"]), None)
    return (later, first) if later else (first, None)


def _remedy_key(finding: types.FindingJson) -> tuple[object, ...]:
    """What two findings must have in common for one remedy to be shown for both."""
    shown, before = _offered(finding)
    if shown is None:
        return (None,)
    advice = shown["command"] if shown["action"] == Action.RESTART else None
    own = shown["reason"] if shown["command"] is None else advice
    return shown["action"], shown["automatic"], own, before["action"] if before else None


def _head(report: types.ReportJson, view: View) -> Iterable[str]:
    result = phrases.headline(report, view.about)
    worst = [finding["severity"] for finding in report["findings"] if counts(finding)]
    colour = _COLOURS[max(worst, key=lambda level: Severity(level).rank)] if worst else "green"
    if not worst and blind(report):
        result, worst, colour = "could not tell what is wrong", ["blind"], "yellow"
    sign = view.terminal.glyph("●" if worst else "✓")
    first = wrap(f"{result} on {report['host']['hostname']}", view.terminal.columns - width(sign) - 1)
    yield view.terminal.paint(f"{sign} {first[0]}", colour)
    yield from (view.terminal.paint(f"  {line}", colour) for line in first[1:])
    summary = report["summary"]
    scanned = (
        f"{count(summary['roots'], 'root')}, {count(summary['namespaces'], 'namespace')}, "
        f"{count(summary['mounts'], 'mount')} in {cost(report['took_seconds'])} ({report['tier']})"
    )
    for line in ([view.note] if view.note else []) + [scanned] + _modes(report):
        parts = wrap(line, view.terminal.columns, first="  ", rest="  ")
        yield from (view.terminal.paint(part, "dim") for part in parts)


def _modes(report: types.ReportJson) -> list[str]:
    lines = ["actions are paused: mountwarden resume"] if report["paused"] else []
    if report["mode"] == "observe":
        lines.append('mode = "observe": the service does nothing by itself')
    return lines


def _group(
    group: FindingGroup, last: FindingGroup | None, everything: Sequence[types.FindingJson], view: View
) -> Iterable[str]:
    terminal, first = view.terminal, group.first
    text = phrases.wrong(first, len(group.findings))
    marks = ", ".join(mark for mark in (_mounts(group.findings), _label(first), _unlisted(first)) if mark)
    sign = terminal.glyph("○" if first["severity"] == "info" or _unlisted(first) else "●")
    rest = " " * (width(sign) + 1)
    lines = wrap(f"{text} ({marks})" if marks else text, terminal.columns, first=f"{sign} ", rest=rest)
    yield from (terminal.paint(line, _COLOURS[first["severity"]]) for line in lines)
    yield from _members(group, view)
    said = _said(last.first) if last else []
    for label, what in _said(first):
        if what and (label, what) not in said:
            yield from wrap(what, terminal.columns, first=f"  {label} ", rest="    ")
    yield from _remedy(group, everything, view)


def _mounts(findings: Sequence[types.FindingJson]) -> str | None:
    """How many mounts they are, where that is more than their number."""
    total = sum(finding["count"] for finding in findings if finding["kind"] != Kind.PINNED)
    return count(total, "mount") if total > len(findings) else None


def _said(finding: types.FindingJson) -> list[tuple[str, str | None]]:
    """What is not repeated when the holder's next group has the same to say."""
    return [("held by", phrases.processes(finding)), ("why:", _because(finding)), ("note:", finding["detail"])]


def _label(finding: types.FindingJson) -> str | None:
    """The severity, where it is not the usual warning."""
    if finding["evidence"] == "claimed":
        return "suspected"
    return None if finding["severity"] == "warning" else finding["severity"]


def _because(finding: types.FindingJson) -> str | None:
    return finding["cause"]["text"] if finding["cause"] else None


def _members(group: FindingGroup, view: View) -> Iterable[str]:
    terminal = view.terminal
    fold = group.first["severity"] == "info" or not view.all
    shown = group.findings[:_MOST] if fold else group.findings
    hidden = len(group.findings) - len(shown)
    ages = [age(view.now - seconds(one["since"])) if one["since"] else "" for one in shown]
    widest = max(map(len, ages))
    for at, (one, lasted) in enumerate(zip(shown, ages, strict=True)):
        branch = terminal.glyph("└" if at == len(shown) - 1 and not hidden else "├")
        start = f"  {branch} {one['id']}  " + (pad(lasted, widest) + "  " if widest else "")
        room = terminal.columns - width(start)
        if room >= 24 or room >= width(one["mountpoint"]):
            yield start + _cut(one["mountpoint"], room, terminal)
        else:
            yield start.rstrip() if width(start.rstrip()) <= terminal.columns else f"  {branch} {one['id']}"
            stem = terminal.glyph("│") if branch == terminal.glyph("├") else " "
            yield f"  {stem} " + _cut(one["mountpoint"], terminal.columns - 4, terminal)
    if hidden:
        yield f"  {terminal.glyph('└')} " + f"and {hidden:,} more"


def _remedy(group: FindingGroup, everything: Sequence[types.FindingJson], view: View) -> Iterable[str]:
    """What to do: the command; or that the service does it, or why there is no command."""
    remedy, before = _offered(group.first)
    if remedy is None or group.first["silenced"]:
        return
    arrow, columns = view.terminal.glyph("→"), view.terminal.columns
    if before is not None:
        reasons = {said["reason"] for said in (_offered(finding)[1] for finding in group.findings) if said}
        why = before["reason"] if len(reasons) == 1 else "declined, each for a reason of its own"
        yield from wrap(f"{before['action']}: {why}", columns, first="  ", rest="    ")
    if remedy["automatic"]:
        yield from wrap("mountwarden.service, where it runs, does this by itself; or", columns, first="  ", rest="    ")
    pasted = _command(group, everything)
    if pasted is None:
        yield from wrap(f"{remedy['action']}: {remedy['reason']}", columns, first=f"  {arrow} ", rest="    ")
    else:
        # Never wrapped or cut: half a command is worse than a long line.
        yield f"  {arrow} " + view.terminal.paint(pasted, "bold")
        if remedy.get("by_hand") and len(group.findings) == 1:
            yield f"    by hand: {remedy['by_hand']}"


def _command(group: FindingGroup, everything: Sequence[types.FindingJson]) -> str | None:
    """One command for the whole group, and for nothing else."""
    remedy = _offered(group.first)[0]
    if remedy is None or remedy["command"] is None or len(group.findings) == 1:
        return remedy["command"] if remedy else None
    action = remedy["action"]
    if action == Action.RESTART:
        return remedy["command"]
    ids = [finding["id"] for finding in group.findings]
    if len(ids) > 4 and group.first["kind"] == Kind.ABANDONED:
        root = group.first["root"]
        if set(ids) == {one["id"] for one in everything if _is_left(one, root)}:
            all_of_root = command(["mountwarden", action, "--all", "--kind", Kind.ABANDONED, "--root", root])
            return all_of_root or command(["mountwarden", action, *ids])
    unit = next((name for one in types.holders(group.first) if (name := one["user_unit"] or one["unit"])), None)
    if len(ids) > 4 and unit and set(ids) == {one["id"] for one in everything if _is_meant(one, action, unit)}:
        return command(["mountwarden", action, "--all", "--unit", unit])
    return command(["mountwarden", action, *ids])


def _is_left(finding: types.FindingJson, root: str) -> bool:
    """Whether `--all --kind abandoned --root` of unmount would take that finding too."""
    meant = finding["kind"] == Kind.ABANDONED and finding["root"] == root
    return meant and finding["confirmed"] and not finding["silenced"]


def _is_meant(finding: types.FindingJson, action: str, unit: str) -> bool:
    """Whether `--all --unit` of an action's command would take that finding too."""
    of_unit = any(unit in (holder["unit"], holder["user_unit"]) for holder in types.holders(finding))
    first = finding["remedies"][0]["action"] if finding["remedies"] else None
    return finding["confirmed"] and not finding["silenced"] and of_unit and first == action


def _feet(report: types.ReportJson, view: View) -> Iterable[str]:
    findings, columns = report["findings"], view.terminal.columns
    quiet = sum(1 for f in findings if f["silenced"] or f["severity"] == "info")
    waiting = [f for f in findings if not f["confirmed"] and not f["silenced"] and f["severity"] != "info"]
    lines = [f"{root['path']} ({root['engine']}) could not be judged: {root['status']}" for root in report["roots"]]
    lines = [line for line, root in zip(lines, report["roots"], strict=True) if root["status"] != "ok"]
    lines += map(phrases.gap, report["gaps"])
    if not report["roots"]:
        lines.append("no engine's root was found: nothing is guarded here")
    if view.hidden:
        lines.append(f"{count(view.hidden, 'finding')} about something else: mountwarden report")
    if waiting:
        lines.append(f"{count(len(waiting), 'finding')} not confirmed: {_confirmed_in(waiting, report, view.now)}")
    if quiet and not view.all:
        lines.append(f"{count(quiet, 'finding')} of severity info or silenced: mountwarden report --all")
    if any(counts(finding) for finding in findings):
        lines.append("to see one explained: mountwarden explain ID")
    elif view.terminal.interactive:
        lines.append("something is busy all the same: mountwarden who PATH")
    for line in lines:
        yield from (view.terminal.paint(part, "dim") for part in wrap(line, columns, rest="  "))


def _confirmed_in(waiting: Iterable[types.FindingJson], report: types.ReportJson, now: float) -> str:
    """Why they are not, and when they will be; a command that looks by itself can be told to wait for it."""
    times = [(seconds(one["due"]), seconds(one["since"])) for one in waiting if one["due"] and one["since"]]
    text = "seen for less than the confirm time"
    if not times:
        return text
    left = sorted({max(1, math.ceil(due - now)) for due, _since in times})
    when = f"{left[0]} s" if len(left) == 1 else f"{left[0]} to {left[-1]} s"
    hint = "" if report["agent"] else f" (--wait {max(math.ceil(due - since) for due, since in times)})"
    return f"{text}; confirmed at the earliest in {when}{hint}"


def _cut(text: str, columns: int, terminal: Terminal) -> str:
    return fit(text, columns, ellipsis=terminal.glyph("…"))
