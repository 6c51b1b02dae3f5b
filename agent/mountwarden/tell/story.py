"""One finding in prose: what, since when, who holds it, why, what ends it and why that is safe."""

from collections.abc import Iterable, Mapping, Sequence

from ..model import Action, Kind
from . import shape, words
from .report import seconds
from .terminal import Terminal
from .text import age, wrap

_EFFECT = {
    Kind.LEAKED: "While it stays, the layer's directory can't be removed everywhere, its space is not freed, and "
    "mounting the layer again risks its data.",
    Kind.SEVERED: "Nothing is wrong yet: it becomes a leak when home unmounts it and leaves the mountpoint in place.",
    Kind.PRIVATE_ROOT: "Umounts under it reach no other namespace, so each service that has a namespace of its own "
    "keeps what it has once copied.",
    Kind.PINNED: "Its layer or device stays busy until the last of them lets go.",
    Kind.STACKED: "Each start multiplies the mounts of the host, until fs.mount-max is reached.",
    Kind.ORPHANED: "The container's processes still run on a layer that its engine takes for gone.",
}

_SAFE = {
    Action.DETACH: "Safe because the kernel itself refuses it where home has the mountpoint mounted; because the copy, "
    "the engine's record and every namespace are looked at again right before; and because a directory that is not "
    "empty, or that anybody uses, is left alone. No process is stopped and no data is touched.",
    Action.SHARE: "Safe because it changes one mount's propagation and mounts nothing; what is mounted below it is "
    "not touched.",
    Action.UNMOUNT: "It unmounts the copy inside that one namespace; the kernel refuses it while it is in use there.",
    Action.REJOIN: "It opens the service to new mounts of home, and makes a plain umount at home fail while the "
    "service is busy in its copy.",
    Action.RESTART: "It always works: the namespace ends with its processes, and the new one copies only what is "
    "mounted then. The service is away for that time.",
}


def tell(
    finding: shape.FindingJson, steps: Mapping[str, Sequence[str]], terminal: Terminal, now: float, taken: str
) -> str:
    """The story, ending in a newline. `steps` are what each remedy would do; `now` is in seconds since the Epoch."""
    lines: list[str] = []
    for title, paragraphs in (
        (f"{finding['id']}  {finding['kind']}, {finding['severity']}", list(_what(finding))),
        ("Since", list(_since(finding, now, taken))),
        ("Who holds it", list(_who(finding))),
        ("Why", [_why(finding)]),
    ):
        lines += [terminal.paint(title, "bold"), *_indented(paragraphs, terminal), ""]
    lines += [terminal.paint("What ends it", "bold")]
    lines += list(_remedies(finding, steps, terminal)) or _indented(["Nothing that we know of."], terminal)
    return "\n".join(lines) + "\n"


def _indented(paragraphs: Iterable[str], terminal: Terminal) -> list[str]:
    return [line for text in paragraphs for line in wrap(text, terminal.columns, first="  ", rest="  ")]


def _what(finding: shape.FindingJson) -> Iterable[str]:
    text = words.wrong(finding["kind"], finding["namespace"]["kind"])
    yield words.sentence_case(text) + "."
    yield f"{finding['fstype']} {finding['device']} at {finding['mountpoint']}"
    if finding["seen_at"] not in (None, finding["mountpoint"]):
        yield f"seen there as {finding['seen_at']}"
    if finding["count"] > 1:
        yield f"{finding['count']:,} times"
    if finding["detail"]:
        yield finding["detail"]
    yield _EFFECT[Kind(finding["kind"])]
    if known := words.known(finding["evidence"]):
        yield f"How that is known: {known} (evidence: {finding['evidence']})."


def _since(finding: shape.FindingJson, now: float, taken: str) -> Iterable[str]:
    since = finding["since"] or taken
    yield f"{since}, {age(now - seconds(since))} ago, when it was first seen."
    if not finding["confirmed"]:
        yield "Not confirmed: it has not yet held for its confirm time, so it may be an engine at work."
    if finding["silenced"]:
        yield "Silenced: it counts in no exit status, alert or act."


def _who(finding: shape.FindingJson) -> Iterable[str]:
    space = finding["namespace"]
    if not words.holder(finding).startswith("process "):
        yield words.holder(finding)
    for one in finding["holders"][:10]:
        user = "" if one["user"] is None else f", user {one['user']}"
        yield f"Process {one['pid']} ({one['comm']}{user})"
    if len(finding["holders"]) > 10:
        yield f"and {len(finding['holders']) - 10:,} processes more"
    if space["inode"] is not None:
        unique = "" if space["id"] is None else f", id {space['id']}"
        yield f"Mount namespace {space['inode']}{unique}" + (f" of a {space['kind']}" if space["kind"] else "")


def _why(finding: shape.FindingJson) -> str:
    return (
        finding["cause"]["text"] if finding["cause"] else "Not known: systemd gave no answer, or nothing explains it."
    )


def _remedies(finding: shape.FindingJson, steps: Mapping[str, Sequence[str]], terminal: Terminal) -> Iterable[str]:
    for number, remedy in enumerate(finding["remedies"], 1):
        left = f"left to you: {remedy['reason']}"
        who = "mountwarden.service, where it runs, does it by itself" if remedy["automatic"] else left
        yield from wrap(f"{number}. {remedy['action']} ({who})", terminal.columns, rest="   ")
        for step in steps.get(remedy["action"], ()):
            yield from wrap(step, terminal.columns, first="   - ", rest="     ")
        yield from wrap(_SAFE[Action(remedy["action"])], terminal.columns, first="   ", rest="   ")
        if remedy["command"]:
            yield f"   {terminal.glyph('→')} " + terminal.paint(remedy["command"], "bold")
        else:
            yield from wrap(
                "There is no command for it that could be pasted.", terminal.columns, first="   ", rest="   "
            )
