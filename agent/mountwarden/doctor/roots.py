"""The roots of this host, and which units and containers will leak the next mount of them."""

from collections.abc import Iterable, Iterator, Sequence

from ..escape import printable, sentence
from ..explain.naming import name_of
from ..model import Finding, Gap, Kind, Mount, Picture, RootState
from ..mounts.exposure import Exposure, Relation
from ..output.columns import count
from ..predict.next_leaks import NextLeak
from .check import Check, Status

ROOTS = "roots"
NEXT = "the next mount"
_NAMED = 3
"""Roots that are named in one line."""


def roots(picture: Picture, findings: Iterable[Finding]) -> Iterator[Check]:
    """One line a root: whose it is, in which mount namespace its engine is, how its mount propagates."""
    private = {finding.root.path: finding for finding in findings if finding.kind is Kind.PRIVATE_ROOT}
    for state in picture.roots:
        yield _root(state, private.get(state.root.path))
    if not picture.roots:
        yield Check("roots", ROOTS, Status.WARN, "no engine's root was found: nothing is guarded here", "see [[root]]")


def _root(state: RootState, finding: Finding | None) -> Check:
    root, name = state.root, f"{printable(state.root.path)} ({state.root.engine}, {state.root.kind})"
    if state.status != "ok" or state.mount is None:
        text = f"{name} could not be judged: {sentence(state.status)}"
        return Check("roots", ROOTS, Status.WARN, text, "mountwarden report --strict")
    text = f"{name}: {propagation(state.mount)}{_home(state)}"
    if root.wants_private:
        hint = 'skip_mount_home = "true" below [storage.options.overlay] in storage.conf keeps it shared'
        if finding is None:
            return Check("roots", ROOTS, Status.OK, f"{text}; its engine makes it private when it starts", hint)
        made = "made private by its engine on purpose: each unit that starts with a mount namespace keeps its copies"
        return Check("roots", ROOTS, Status.OK, f"{name}: {made}{_home(state)}", hint)
    if finding is not None:
        where = (
            "" if finding.mountpoint == root.path else f" ({printable(finding.mountpoint)} in it is the private one)"
        )
        text += f"{where}: umounts reach no other namespace"
        return Check("roots", ROOTS, Status.WARN, text, f"mountwarden share {finding.id}")
    return Check("roots", ROOTS, Status.OK, text)


def propagation(mount: Mount) -> str:
    """How a root's mount propagates, as a line says it."""
    if mount.shared:
        return f"shared, peer group {mount.shared}"
    return "a slave" if mount.master else "unbindable" if mount.unbindable else "private"


def _home(state: RootState) -> str:
    root = state.root
    if root.home_pid is not None:
        return f"; its daemon (process {root.home_pid}) has a mount namespace of its own, which actions enter"
    return "" if root.home_known else "; its daemon does not run: it is judged, but no action is automatic"


def cut_off(next_leaks: Sequence[NextLeak]) -> Iterator[Check]:
    """One line for each namespace and cause that will leak: who will keep what, why, and the lasting fix.

    What is cut off and will keep nothing, or is so by an engine's purpose, is counted only.
    """
    on_purpose = [one for one in next_leaks if one.on_purpose]
    others = [one for one in next_leaks if not one.on_purpose]
    leaking = [one for one in others if one.leaks or one.recurs]
    for one in leaking:
        yield Check("namespaces.cut-off", NEXT, Status.WARN, _sentence(one), one.fix)
    if harmless := {one.namespace for one in others} - {one.namespace for one in leaking}:
        many = count(len(harmless), "namespace")
        text = f"{many} cut off from a root, with no copy there: what is mounted later does not get there either"
        yield Check("namespaces.empty", NEXT, Status.OK, text)
    if on_purpose:
        holders = count(len({one.namespace for one in on_purpose}), "namespace")
        kept = count(sum(one.kept for one in on_purpose), "copy", "copies")
        text = f"{holders} cut off from roots that are private on purpose, with {kept}"
        hint = "their engine removes the mountpoints itself, which takes the copies along"
        yield Check("namespaces.on-purpose", NEXT, Status.OK, text, hint)


def _sentence(one: NextLeak) -> str:
    who = name(one)
    if one.leaks:
        of, when = (
            _names([exposure for exposure in one.sights if exposure.leaks]),
            "it is" if one.leaks == 1 else "they are",
        )
        parts = [f"{who} will keep {count(one.leaks, 'mount')} of {of} when {when} unmounted on the host."]
    else:
        parts = [f"{who} is cut off from {_names(one.sights)}: it will keep what is live there when it starts again."]
    if one.at_home is not None:
        parts.append("Then their directories can't be removed: device or resource busy.")
        return " ".join(parts)
    if one.cause:
        parts.append(sentence(one.cause.text))
    if one.leaks and all(exposure.root.rmdir_on_put for exposure in one.sights if exposure.leaks):
        point, them = ("mountpoint", "it") if one.leaks == 1 else ("mountpoints", "them")
        parts.append(f"Only the removal of the {point}, left to the engine, takes {them} away.")
    return " ".join(parts)


def name(one: NextLeak) -> str:
    """The unit, container or process, or the place on the host itself; escaped."""
    if one.at_home is not None:
        return f"{printable(one.at_home)} on the host itself"
    return name_of(one.who.holders, one.namespace, one.who.more)


def _names(exposures: Sequence[Exposure]) -> str:
    paths = list(dict.fromkeys(printable(exposure.root.path) for exposure in exposures))
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return ", ".join(paths[:_NAMED]) + more


def reached(exposures: Iterable[Exposure]) -> Check:
    """How many namespaces show roots, and receive every umount of those that are not private on purpose."""
    by_namespace: dict[int, list[Exposure]] = {}
    for exposure in exposures:
        if not exposure.on_purpose and not exposure.at_home:
            by_namespace.setdefault(exposure.namespace, []).append(exposure)
    well = [i for i, some in by_namespace.items() if all(s.relation is not Relation.CUT_OFF for s in some)]
    if not by_namespace:
        text = "no other mount namespace shows a root"
    else:
        text = f"{len(well)} of {count(len(by_namespace), 'namespace')} that show a root receive every umount of it"
    return Check("namespaces.reached", NEXT, Status.OK, text)


def gaps(unread: Iterable[Gap]) -> Iterator[Check]:
    """What could not be read: it may leak as well."""
    for gap in unread:
        where = f" in namespace {gap.namespace}" if gap.namespace else ""
        times = f", {gap.count} times" if gap.count > 1 else ""
        text = f"could not read {sentence(gap.what)}{where}{times}: {sentence(gap.reason)}"
        yield Check("namespaces.gap", NEXT, Status.WARN, text, "what is there may leak as well")
