"""One finding in prose: what, when, who holds it, why, the remedies and why they are safe, and the lasting fix."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..escape import seconds
from ..model import Action, Kind, MountClass
from ..report import types
from . import explain_drawing, phrases
from .columns import age, count, wrap
from .terminal import Terminal

_EFFECT = {
    Kind.SEVERED: "Nothing is wrong yet: it becomes a leak when it is unmounted on the host and the mountpoint is left "
    "in place.",
    Kind.PRIVATE_ROOT: "Umounts under it reach no other namespace, so each service that has a namespace of its own "
    "keeps what it has once copied.",
    Kind.STACKED: "Each start multiplies the mounts of the host, until fs.mount-max is reached.",
    Kind.ORPHANED: "The container's processes still run on a layer that its engine takes for unmounted.",
    Kind.ABANDONED: "While it stays, its directory can't be removed, and what it is mounted from stays in use.",
}

_OF_LEAKED = {
    MountClass.LAYER: "While it stays, the layer's directory can't be removed everywhere, its space is not freed, and "
    "mounting the layer again risks its data.",
    MountClass.SHM: "While it stays, its directory can't be removed everywhere, and the memory of what is in it is not "
    "freed.",
    MountClass.NETNS: "While it stays, the network namespace lives on with its interfaces and addresses, and its file "
    "can't be removed everywhere.",
    MountClass.VOLUME: "While it stays, the volume's file system is in use: its device can't be detached, and mounting "
    "it on another host risks its data.",
}
_OF_PINNED = {
    MountClass.LAYER: "The layer's space is not freed until the last of them closes its files or ends.",
    MountClass.SHM: "The memory of what is in it is not freed until the last of them closes its files or ends.",
    MountClass.NETNS: "The network namespace lives on until the last of them closes it or ends.",
    MountClass.VOLUME: "The volume's device stays busy until the last of them closes its files or ends.",
}

_LEFT_BEHIND = (Kind.LEAKED, Kind.ORPHANED)
"""Kinds whose evidence says how it is known that home has unmounted it."""

_SAFE = {
    Action.DETACH: "Safe because the kernel itself refuses it where the mountpoint is mounted on the host; because the "
    "copies, the engine's record and every namespace are checked again right before; and because {mountpoint} is left "
    "alone. No process is stopped and no data is touched.",
    Action.SHARE: "Safe because it changes one mount's propagation and mounts nothing; what is mounted below it is "
    "not touched.",
    Action.UNMOUNT: "It unmounts the copies inside their namespaces, and nothing elsewhere; the kernel refuses it "
    "while they are in use there. With --lazy they go all the same: what a program has open goes on working, a path "
    "that it looks up from then on shows the bare directory below, and what it writes there stays there.",
    Action.REJOIN: "It opens the service to new mounts of the host, and makes a plain umount on the host fail while "
    "the service is busy in its copy.",
    Action.RESTART: "It always works: the namespace ends with its processes, and the new one copies only what is "
    "mounted then. The service is away for that time.",
}


_SAFE_AT_HOME = (
    "Safe because its engine is asked once more right before whether anybody owns it; because the mount is found again "
    "by its id, from the directory that it is in; because nothing else may be on it, or go with it in any mount "
    "namespace; and because the kernel refuses a plain umount of what is in use. It is never done lazily."
)
"""Of an umount of what home itself has."""

_MOUNTPOINT = {MountClass.NETNS: "a file that is not empty, or that has another name,"}
_DIRECTORY = "a directory that is not empty, or that any process uses,"
"""What a detach leaves alone."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What an explanation is made of."""

    finding: types.FindingJson
    steps: Mapping[str, Sequence[str]]
    """What each remedy would do."""
    now: float
    """Seconds since the Epoch."""
    taken: str
    """When the scan was taken."""
    background: types.BackgroundJson | None = None
    """None: it was not asked for, since that needs root."""


def render(document: Explanation, terminal: Terminal) -> str:
    """The explanation, ending in a newline."""
    finding = document.finding
    sections: list[tuple[str, Iterable[str]]] = [
        (f"{finding['id']}  {finding['kind']}, {finding['severity']}", _indented(_what(finding), terminal)),
        ("Since", _indented(_since(finding, document.now, document.taken), terminal)),
        ("Who holds it", _indented(_who(finding), terminal)),
        ("Why", _indented([_why(finding)], terminal)),
        *_background(document.background, terminal),
        ("Remedies", _remedies_or_advice(finding, document.steps, terminal)),
    ]
    if document.background and document.background["fix"]:
        sections.append(("Lasting fix", _fix(document.background["fix"], terminal)))
    parts = ([*([""] if at else []), *_title(title, terminal), *lines] for at, (title, lines) in enumerate(sections))
    return terminal.lines(line for part in parts for line in part)


def render_over(finding_id: str, background: types.BackgroundJson, terminal: Terminal) -> str:
    """What the journal has of a finding that is there no more."""
    title = _title(f"{finding_id}  is over: no scan shows it now", terminal)
    return terminal.lines([*title, *explain_drawing.timeline(background["timeline"], terminal)])


def _title(text: str, terminal: Terminal) -> Iterable[str]:
    return (terminal.paint(line, "bold") for line in wrap(text, terminal.columns))


def _background(document: types.BackgroundJson | None, terminal: Terminal) -> Iterable[tuple[str, Iterable[str]]]:
    if document is None:
        return
    if document["settings"]:
        yield "Its unit's settings", _settings(document["settings"], terminal)
    if document["timeline"]:
        yield "Timeline (UTC)", explain_drawing.timeline(document["timeline"], terminal)
    if document["chain"]:
        title = "Where the chain is broken" if document["chain"]["broken"] else "How umounts propagate"
        yield title, explain_drawing.chain(document["chain"], terminal)


def _settings(document: Iterable[types.SettingJson], terminal: Terminal) -> Iterable[str]:
    for one in document:
        place = f"{one['file']}:{one['line']}" if one["file"] else ""
        where = ", ".join(part for part in (place, one["note"]) if part)
        yield from wrap(f"{one['name']}={one['value']} ({where})", terminal.columns, first="  ", rest="    ")


def _fix(fix: types.FixJson, terminal: Terminal) -> Iterable[str]:
    """The file's text and the commands are never wrapped: they are to be copied."""
    yield from _indented([fix["text"]], terminal)
    if fix["content"]:
        yield f"  {terminal.glyph('→')} {fix['file'] or 'in the user’s own storage.conf'}"
        yield from (f"    {line}" for line in fix["content"].splitlines())
    yield from (f"  {terminal.glyph('→')} " + terminal.paint(command, "bold") for command in fix["commands"])


def _indented(paragraphs: Iterable[str], terminal: Terminal) -> list[str]:
    return [line for text in paragraphs for line in wrap(text, terminal.columns, first="  ", rest="  ")]


def _what(finding: types.FindingJson) -> Iterable[str]:
    yield phrases.sentence_case(phrases.wrong(finding)) + "."
    yield f"{finding['fstype']} {finding['device']} at {finding['mountpoint']}"
    if finding["count"] > 1 and finding["kind"] != Kind.PINNED:
        spaces = f" in {finding['namespaces']:,} mount namespaces" if finding["namespaces"] > 1 else ""
        yield f"{finding['count']:,} times{spaces}"
    if finding["detail"]:
        yield finding["detail"]
    if finding["frees"]:
        yield f"Its end frees {finding['frees']}."
    yield _effect(Kind(finding["kind"]), MountClass(finding["mount_class"]))
    if finding["kind"] in _LEFT_BEHIND and (known := phrases.known(finding["evidence"])):
        yield f"How that is known: {known} (evidence: {finding['evidence']})."


def _effect(kind: Kind, what: MountClass) -> str:
    if kind is Kind.LEAKED:
        return _OF_LEAKED[what]
    return _OF_PINNED[what] if kind is Kind.PINNED else _EFFECT[kind]


def _since(finding: types.FindingJson, now: float, taken: str) -> Iterable[str]:
    since = finding["since"] or taken
    yield f"{since}, {age(now - seconds(since))} ago, when it was first seen."
    if not finding["confirmed"]:
        yield "Not confirmed: it has not held for its confirm time, so an engine may be in the middle of unmounting it."
        if finding["due"]:
            yield f"It is confirmed at the earliest in {max(1, math.ceil(seconds(finding['due']) - now))} s."
    if finding["silenced"]:
        yield "Silenced: it counts in no exit status, alert or action."


def _who(finding: types.FindingJson) -> Iterable[str]:
    if finding["kind"] == Kind.ABANDONED:
        yield "Nobody: the host itself has it mounted."
    if finding["kind"] == Kind.PRIVATE_ROOT:
        yield phrases.holder(finding)
    if len(finding["copies"]) == 1:
        yield from _holder(finding, finding["copies"][0])
    else:
        yield from (_holder_in_a_line(finding, copy) for copy in finding["copies"])
    if more := phrases.unnamed(finding):
        yield f"and {count(more, 'more mount namespace')}"


def _holder_in_a_line(finding: types.FindingJson, copy: types.CopyJson) -> str:
    """One of several namespaces."""
    held = copy["holders"]
    pids = ", ".join(f"{one['pid']} ({one['comm']})" for one in held[:3])
    more = f" and {len(held) - 3:,} more" if len(held) > 3 else ""
    name = phrases.copy_holder(copy)
    processes = [f"PID {pids}{more}"] if held and not name.startswith("process ") else []
    return ", ".join((name, *processes, *_space(finding, copy)))


def _holder(finding: types.FindingJson, copy: types.CopyJson) -> Iterable[str]:
    """One namespace: its name, its processes, itself."""
    name = phrases.copy_holder(copy)
    if not name.startswith("process ") and finding["kind"] not in phrases.OF_HOME:
        yield name
    for one in copy["holders"][:10]:
        user = "" if one["user"] is None else f", user {one['user']}"
        yield f"Process {one['pid']} ({one['comm']}{user})"
    if len(copy["holders"]) > 10:
        yield f"and {len(copy['holders']) - 10:,} processes more"
    yield from map(phrases.sentence_case, _space(finding, copy))


def _space(finding: types.FindingJson, copy: types.CopyJson) -> Iterable[str]:
    """The namespace, and the path there."""
    space = copy["namespace"]
    if space["inode"] is None:
        return
    unique = "" if space["id"] is None else f", id {space['id']}"
    kind = f" of a {space['kind']}" if space["kind"] else ""
    seen = f", seen there as {copy['seen_at']}" if copy["seen_at"] not in (None, finding["mountpoint"]) else ""
    yield f"mount namespace {space['inode']}{unique}{kind}{seen}"


def _why(finding: types.FindingJson) -> str:
    return (
        finding["cause"]["text"] if finding["cause"] else "Not known: systemd gave no answer, or nothing explains it."
    )


def _remedies_or_advice(
    finding: types.FindingJson, steps: Mapping[str, Sequence[str]], terminal: Terminal
) -> Iterable[str]:
    by_hand = phrases.sentence_case(phrases.by_hand(finding["kind"])) + "."
    return list(_remedies(finding, steps, terminal)) or _indented([by_hand], terminal)


def _remedies(finding: types.FindingJson, steps: Mapping[str, Sequence[str]], terminal: Terminal) -> Iterable[str]:
    for number, remedy in enumerate(finding["remedies"], 1):
        left = f"left to you: {remedy['reason']}"
        who = "mountwarden.service, where it runs, does it by itself" if remedy["automatic"] else left
        yield from wrap(f"{number}. {remedy['action']} ({who})", terminal.columns, rest="   ")
        for step in steps.get(remedy["action"], ()) if remedy["command"] else ():
            yield from wrap(step, terminal.columns, first="   - ", rest="     ")
        safe = _safe(finding, Action(remedy["action"]))
        yield from wrap(safe, terminal.columns, first="   ", rest="   ")
        if remedy["command"]:
            yield f"   {terminal.glyph('→')} " + terminal.paint(remedy["command"], "bold")
            if remedy["by_hand"]:
                yield f"     by hand, without these checks: {remedy['by_hand']}"
        else:
            yield from wrap(
                "There is no command for it that could be pasted.", terminal.columns, first="   ", rest="   "
            )


def _safe(finding: types.FindingJson, action: Action) -> str:
    if finding["kind"] == Kind.ABANDONED and action is Action.UNMOUNT:
        return _SAFE_AT_HOME
    return _SAFE[action].format(mountpoint=_left_alone(finding))


def _left_alone(finding: types.FindingJson) -> str:
    return _MOUNTPOINT.get(MountClass(finding["mount_class"]), _DIRECTORY)
