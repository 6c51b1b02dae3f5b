"""The container engines of this host as lines: which run, whose roots are known, and what an unknown one would need."""

from collections.abc import Callable, Iterable, Iterator

from ..config.schema import Config
from ..engines import containers_storage
from ..escape import printable, sentence, unit_name
from ..explain.naming import container_name
from ..model import Holder, RootState
from ..output.columns import count
from .check import Check, Status
from .roots import propagation
from .running import EngineRunning
from .unknown import UnknownEngine

GROUP = "engines"
FILE = "/etc/mountwarden/mountwarden.toml"
_FEW_ROOTS = 4
_MOST_OTHERS = 20
"""Lines of users' engines and those in containers: how many there are is not up to us."""


def running(
    engines: Iterable[EngineRunning], unread: int, config: Config, user: Callable[[int], str]
) -> Iterator[Check]:
    """One line for each engine of the host, each user's, and each in a container. `user` names one by its number."""
    engines = tuple(engines)
    others = [one for one in engines if not one.is_hosts]
    for one in engines:
        if one.is_hosts:
            yield _of_host(one, config)
    for one in others[:_MOST_OTHERS]:
        whose = f"of user {printable(user(one.user))}" if one.user is not None else f"in {_container(one)}"
        why = "the user's own" if one.user is not None else "the container's"
        text = f"{one.program.name} {whose}: {_processes(one)}; observed only, since its mounts are {why}"
        yield Check("engines.others", GROUP, Status.OK, text)
    if len(others) > _MOST_OTHERS or unread:
        more = [count(len(others) - _MOST_OTHERS, "more engine")] if len(others) > _MOST_OTHERS else []
        more += [f"{count(unread, 'more process', 'more processes')} of engines"] if unread else []
        text = f"{' and '.join(more)} of users and containers, or monitors of containers, not told"
        yield Check("engines.others", GROUP, Status.OK, text)
    if not engines:
        yield Check("engines", GROUP, Status.OK, "no process of a container engine that is known here runs")


def _of_host(one: EngineRunning, config: Config) -> Check:
    program = one.program
    text = f"{program.name}: {_processes(one)}; "
    if not program.mounts_at_home:
        return Check("engines", GROUP, Status.OK, f"{text}nothing to guard: it mounts in its containers' namespaces")
    if not program.modules:
        text += "its roots are not known; a line below tells what it has mounted, if anything"
        return Check("engines", GROUP, Status.OK, text)
    if one.roots:
        return Check("engines", GROUP, Status.OK, f"{text}{_roots(one.roots)}")
    missing = [name for name in program.modules if name not in config.engines]
    if missing:
        text += f"not guarded: `engines` of the configuration leaves {' and '.join(missing)} out"
        return Check("engines", GROUP, Status.OK, text)
    if containers_storage.ENGINE in program.modules:
        text += "no root of it was found, as where its storage driver is not overlay: nothing of it is guarded"
        return Check("engines", GROUP, Status.OK, text)
    hint = "its directory is not there, or could not be asked for: mountwarden report --strict names what"
    return Check("engines", GROUP, Status.WARN, f"{text}no root of it was found: it is not guarded", hint)


def _roots(states: tuple[RootState, ...]) -> str:
    named = ", ".join(f"{printable(state.root.path)} ({_state(state)})" for state in states[:_FEW_ROOTS])
    more = f" and {len(states) - _FEW_ROOTS} more" if len(states) > _FEW_ROOTS else ""
    return f"{'root' if len(states) == 1 else 'roots'} known: {named}{more}"


def _state(state: RootState) -> str:
    if state.status != "ok" or state.mount is None:
        return f"not judged: {sentence(state.status)}"
    return propagation(state.mount)


def _processes(one: EngineRunning) -> str:
    named = ", ".join(map(_process, one.processes))
    more = f" and {one.many - len(one.processes)} more" if one.many > len(one.processes) else ""
    return f"{'process' if one.many == 1 else 'processes'} {named}{more}"


def _process(holder: Holder) -> str:
    units = [unit_name(unit) for unit in (holder.user_unit, holder.unit) if unit]
    return f"{holder.pid} ({', '.join([printable(holder.comm), *units])})"


def _container(one: EngineRunning) -> str:
    return container_name(one.container or "") if one.processes[0].container else f"the {one.container}"


def unknown(found: Iterable[UnknownEngine]) -> Iterator[Check]:
    """One line for each, with what is to be added to the configuration."""
    for one in found:
        directory, first = one.directory, one.directory.mounts[0]
        who = ", ".join(map(_process, one.processes))
        many = count(len(directory.mounts), "mount")
        text = f"an engine that is not known here mounts below {printable(directory.path)}, where process {who} has"
        text += f" files: nothing guards its {many}, such as {printable(first.point)} ({printable(first.fstype)})"
        yield Check("engines.unknown", GROUP, Status.WARN, text, _hint(one))


def _hint(one: UnknownEngine) -> str:
    if one.entry is None:
        return "its paths can't be written in the configuration: they are no UTF-8"
    names = " and ".join(map(printable, one.replaces))
    there = f", in place of the entry of {names}" if names else ""
    return f"add to {FILE}{there}; then: systemctl reload mountwarden\n{one.entry.rstrip()}"
