"""Findings in short sentences: what is wrong, who holds it, what to do."""

from ..escape import printable
from ..explain import naming
from ..model import Evidence, Holder, Kind, LeftBehind, MountClass, Severity, Subject
from ..report import types
from ..report.build import blind, counts
from .columns import count

_WRONG = {
    Kind.LEAKED: "leaked: {what} {state}, still mounted {here}",
    Kind.SEVERED: "severed: mounted on the host, but an umount there will not reach the copy {here}",
    Kind.PRIVATE_ROOT: "private-root: the root is not shared, so umounts reach no other namespace",
    Kind.PINNED: "pinned: {what} mounted nowhere any more, kept by open files or a loop device",
    Kind.STACKED: "stacked: the same mount is there many times {here}",
    Kind.ORPHANED: "orphaned: a container's own root, unmounted on the host, with processes still {here}",
    Kind.ABANDONED: "abandoned: {left}, still mounted on the host, and nobody's any more",
}
_LEFT = {
    LeftBehind.TASK: ("the file system of a task", "file systems of tasks"),
    LeftBehind.TMPMOUNT: ("a temporary mount", "temporary mounts"),
    LeftBehind.EXECUTOR: ("the file system of a build step", "file systems of build steps"),
    LeftBehind.LAYER: ("a layer that no container has", "layers that no container has"),
    LeftBehind.CONTAINER: ("the file system of a dead container", "file systems of dead containers"),
    LeftBehind.POD: ("a volume of a pod that is gone", "volumes of pods that are gone"),
    LeftBehind.STAGING: ("a volume without its device", "volumes without their devices"),
}
_HERE = {"service": "in this service", "container": "in this container", "process": "in this process's namespace"}

_NOUNS = {
    MountClass.LAYER: ("layer", "layers"),
    MountClass.SHM: ("shared memory", "shared memory"),
    MountClass.NETNS: ("network namespace", "network namespaces"),
    MountClass.VOLUME: ("volume", "volumes"),
}
_STATES = {
    Evidence.HISTORY: "unmounted on the host",
    Evidence.RECORD: "unmounted as the engine's record says",
    Evidence.SPOT: "not mounted on the host",
    Evidence.CLAIMED: "not mounted on the host",
}
"""What is known of home: that it was unmounted there is said only of what was seen there before."""

_BY_HAND = {
    Kind.STACKED: "stop what mounts it there again and again, then umount(8) what is on top, and check how many are "
    "left after each: one umount may take others along, and the last one may be in use",
}

_KNOWN = {
    Evidence.HISTORY: "an earlier scan saw it mounted on the host",
    Evidence.RECORD: "the engine's own record says that it is unmounted",
    Evidence.SPOT: "it is where only the engine mounts, and nothing is mounted there on the host",
    Evidence.CLAIMED: "only its own mount options say so",
}

OF_HOME = (Kind.PRIVATE_ROOT, Kind.ABANDONED)
"""Kinds of which no process is a holder: home itself has the mount."""

_KERNEL = "the kernel"
"""What holds a layer by a loop device."""


_IN_USE = "in use: {what} {state}, and given on purpose to what uses it"


def wrong(finding: types.FindingJson, number: int = 1) -> str:
    """What is wrong with `number` findings like this one, in one line that begins with the kind.

    Of what was given on purpose nothing is: it is in use.
    """
    several = finding["namespaces"] > 1
    here = "in these namespaces" if several else _HERE.get(space_kind(finding) or "", "in this namespace")
    state = _STATES[Evidence(finding["evidence"] or Evidence.SPOT)]
    text = _IN_USE if in_use(finding) else _WRONG[Kind(finding["kind"])]
    text = text.format(what=noun(finding["mount_class"], number), state=state, here=here, left=_left(finding, number))
    return f"{number:,} {text}" if number > 1 else text


def _left(finding: types.FindingJson, number: int) -> str:
    """What was left behind."""
    left = finding.get("left_behind")
    return _LEFT[LeftBehind(left)][number > 1] if left else noun(finding["mount_class"], number)


def noun(mount_class: str, number: int = 1) -> str:
    """What is mounted there."""
    return _NOUNS[MountClass(mount_class)][number > 1]


def in_use(finding: types.FindingJson) -> bool:
    """Whether all that have it were given it on purpose."""
    return bool(finding["copies"]) and all(copy.get("given") for copy in finding["copies"])


def by_hand(kind: str) -> str:
    """What an operator can do about a finding that has no remedy."""
    return _BY_HAND.get(Kind(kind), "no remedy is known")


def known(evidence: str | None) -> str | None:
    """How it is known that a copy is leaked."""
    return _KNOWN[Evidence(evidence)] if evidence else None


def holder(finding: types.FindingJson) -> str:
    """Who holds it; the root, for what the whole host holds or nobody does."""
    named = all_holders(finding)
    return _and_more(named[0], len(named) - 1 + unnamed(finding))


def all_holders(finding: types.FindingJson) -> list[str]:
    """Who holds each of the copies that the finding names, each once."""
    if finding["kind"] in OF_HOME:
        return [f"{finding['engine']} root {finding['root']}"]
    if finding["kind"] == Kind.PINNED and not types.holders(finding):
        return [_KERNEL]
    named = dict.fromkeys(copy_holder(copy) for copy in finding["copies"])
    return list(named) or ["a namespace without a process"]


def unnamed(finding: types.FindingJson) -> int:
    """How many namespaces have copies that the finding only counts."""
    return max(0, finding["namespaces"] - len(finding["copies"]))


def _of_json(one: types.HolderJson) -> Holder:
    """A report that an older version wrote has no `user_unit`."""
    return Holder(one["pid"], one["comm"], one["unit"], one["container"], one["user"], one.get("user_unit"))


def copy_holder(copy: types.CopyJson) -> str:
    """Who holds one copy."""
    return naming.name_of_printable(tuple(map(_of_json, copy["holders"])), copy["namespace"]["inode"])


def _and_more(name: str, more: int) -> str:
    return f"{name} and {more:,} other{'s' if more > 1 else ''}" if more > 0 else name


def holder_of_subject(subject: Subject) -> str:
    """The same of what an event is about."""
    if subject.kind in OF_HOME:
        return f"{subject.engine} root {printable(subject.root)}"
    if subject.kind is Kind.PINNED and not subject.pid:
        return _KERNEL
    first = Holder(subject.pid, subject.comm or "", subject.unit, subject.container) if subject.pid else None
    name = naming.name_of((first,) if first else (), subject.namespaces[0] if subject.namespaces else None)
    return _and_more(name, subject.others)


def space_kind(finding: types.FindingJson) -> str | None:
    """What all of its namespaces are; None where they differ."""
    kinds = {copy["namespace"]["kind"] for copy in finding["copies"]}
    return kinds.pop() if len(kinds) == 1 and finding["namespaces"] <= 1 else None


def gap(found: types.GapJson) -> str:
    """What could not be read, where, and why."""
    where = f" in namespace {found['namespace']}" if found["namespace"] else ""
    times = f", {found['count']:,} times" if found["count"] > 1 else ""
    of = f" of {found['owner']}" if found["owner"] else ""
    return f"could not read {found['what']}{where}{of}{times}: {found['reason']}"


def sentence_case(text: str) -> str:
    """The text with a capital at its start."""
    return text[:1].upper() + text[1:]


def processes(finding: types.FindingJson) -> str | None:
    """The processes behind a unit, a container or several holders: `PID 4711 (sleep), 4712 (sh) and 3 more`."""
    holders, named = types.holders(finding), all_holders(finding)
    if not holders or finding["kind"] in OF_HOME or (len(named) == 1 and named[0].startswith("process ")):
        return None
    first = ", ".join(f"{one['pid']} ({one['comm']})" for one in holders[:3])
    if unnamed(finding):
        return f"PID {first} and others"
    return f"PID {first}" + (f" and {len(holders) - 3:,} more" if len(holders) > 3 else "")


def headline(report: types.ReportJson, about: str = "") -> str:
    """The report in one sentence, without what is silenced, unconfirmed or info. `about` is all that it is about."""
    counted = [f for f in report["findings"] if f["confirmed"] and not f["silenced"] and f["severity"] != "info"]
    if not counted:
        found = "nothing is wrong" if report["complete"] else "nothing wrong was found"
        return f"{found} with {about}" if about else found
    critical = sum(finding["severity"] == "critical" for finding in counted)
    parts = [count(critical, "critical finding")] if critical else []
    if len(counted) > critical:
        parts.append(count(len(counted) - critical, "warning"))
    return " and ".join(parts) + (f" of {about}" if about else "")


def one_line(report: types.ReportJson, status: int, floor: Severity, about: str = "") -> str:
    """The report as one sentence; the worst finding stands for all. `about` is all that it is about."""
    worst = next((finding for finding in report["findings"] if counts(finding, floor)), None)
    if worst is not None:
        where = f"{worst['id']} {worst['kind']}, {holder(worst)}: {worst['mountpoint']}"
        return f"{headline(report, about)}: {where}"
    if status:
        return "unknown: no root could be judged" if blind(report) else "unknown: something could not be read"
    return headline(report, about)
