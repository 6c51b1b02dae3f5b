"""The rooms of the package and what may go from one to another, as rules over its modules' texts.

A rule takes the modules and gives what breaks it, a line each; so a test can also hand it modules that break it.
"""

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "mountwarden"
AGENT = Path(__file__).parents[2] / "agent"

RANKS = {
    **dict.fromkeys(("", "errors", "escape", "durations", "files"), 0),
    **dict.fromkeys(("kernel", "model", "codec"), 1),
    **dict.fromkeys(("mounts", "config", "systemd", "judge", "varlink"), 2),
    **dict.fromkeys(("observe", "ledger", "state", "graphdriver"), 3),
    **dict.fromkeys(("engines", "scratch"), 4),
    "explain": 5,
    "scan": 6,
    **dict.fromkeys(("remedies", "predict"), 7),
    "report": 8,
    **dict.fromkeys(("output", "busy", "snapshot"), 9),
    **dict.fromkeys(("doctor", "service"), 10),
    "cli": 11,
    "__main__": 12,
}
"""Each room, a folder or a file of the package ("" is the package itself): it imports lower ranks, and itself."""

HARMLESS = frozenset(f"remedies.{name}" for name in ("actions", "default_policy", "plan", "restart_advice", "steps"))
"""Parts of the actions' room that change nothing."""

PURE = frozenset(
    {
        *("errors", "escape", "durations", "codec", "model", "mounts", "judge", "ledger", "config.schema"),
        *("systemd.namespacing_directives", "systemd.unit_syntax", "systemd.cgroups"),
        *("varlink.wire", "varlink.interface"),
        *("explain.cause", "explain.context", "explain.lasting_fix", "explain.members", "explain.naming"),
        *("explain.setting_origin", "explain.stopping", *HARMLESS),
        *("report.types", "report.map_types", "report.build"),
        *("report.chain", "report.map", "report.timeline", "report.unit_settings"),
    }
)
"""What only computes: it imports nothing but its like, and nothing that reads, waits or starts something."""
WORLD = frozenset(
    {"os", "time", "subprocess", "socket", "select", "signal", "threading", "ctypes", "pathlib", "tempfile"}
)
"""Modules of the standard library by which something is read, waited for or started."""
IO = frozenset({"open", "input", "print"})
"""Built-in functions that do."""

EDGE = frozenset({"kernel"})
"""Where ctypes may be."""
AT_THE_EDGE = frozenset({"observe", "remedies", "graphdriver", "scratch", "systemd", "service"})
"""Who may import the kernel's edge."""
WITH_A_CHILD = frozenset({"systemd", "service"})
"""Who may import of it only `CHILD`."""
CHILD = "kernel.child"

ACTIONS = "remedies"
DOOR = "remedies.apply"
"""The one part of that room by which others change the host."""

APART = frozenset({"graphdriver"})
ALLOWED_APART = frozenset({"", "errors", "files", "kernel"})
"""What a room that stands apart imports of ours."""

SERVICE = "service.loop"
NEVER_LOADED = frozenset({"graphdriver", "doctor", "busy", "predict.umount"})
"""What the service never loads."""

VAGUE = frozenset({"facts", "text", "words", "shape", "common", "utils", "helpers", "misc"})
"""Names that say nothing of what is in a file."""


@dataclass(frozen=True, slots=True)
class Import:
    """One import, anywhere in a module's text, for type checkers too: what is known of a type is known."""

    module: str
    line: int
    of: str
    """Dotted and absolute; below the package for ours."""
    ours: bool


@dataclass(frozen=True, slots=True)
class Modules:
    """Modules by their dotted name below the package: their texts, and what they import."""

    texts: Mapping[str, str]
    imports: tuple[Import, ...]


def read(texts: Mapping[str, str], packages: frozenset[str] = frozenset()) -> Modules:
    """Texts by dotted name; those in `packages` are the __init__ of a folder."""
    imports = tuple(one for name in texts for one in _imports(name, texts, packages))
    return Modules(texts, imports)


def _imports(module: str, texts: Mapping[str, str], packages: frozenset[str]) -> Iterator[Import]:
    for node in ast.walk(ast.parse(texts[module])):
        names: Iterable[str] = ()
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, module, packages)
            full = [f"{base}.{alias.name}" for alias in node.names]
            # `from package import x` imports the module package.x, where there is one.
            names = sorted({name if _below(name) in texts else base for name in full})
        for name in names:
            own = _below(name)
            yield Import(module, getattr(node, "lineno", 0), name if own is None else own, own is not None)


def _base(node: ast.ImportFrom, module: str, packages: frozenset[str]) -> str:
    if not node.level:
        return node.module or ""
    parts = [PACKAGE, *filter(None, module.split("."))]
    parts = parts[: len(parts) - node.level + (module in packages)]
    return ".".join([*parts, *([node.module] if node.module else [])])


def of_the_package() -> Modules:
    """The modules as they are in this checkout."""
    files = {_dotted(file): file for file in sorted((AGENT / PACKAGE).rglob("*.py"))}
    packages = frozenset(name for name, file in files.items() if file.name == "__init__.py")
    return read({name: file.read_text() for name, file in files.items()}, packages)


def _dotted(file: Path) -> str:
    parts = file.relative_to(AGENT / PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def _below(name: str) -> str | None:
    """The name below the package; None for what is not ours."""
    if name == PACKAGE:
        return ""
    return name.removeprefix(f"{PACKAGE}.") if name.startswith(f"{PACKAGE}.") else None


def room(module: str) -> str:
    """The room that a module is in."""
    return module.partition(".")[0]


def within(module: str, areas: Iterable[str]) -> bool:
    """Whether a module is one of these or below one of them."""
    return any(module == area or module.startswith(f"{area}.") for area in areas)


# The rules -------------------------------------------------------------------------------------------------------


def unlisted(modules: Modules) -> list[str]:
    """Modules of no room that has a rank."""
    return [f"{name} is in no room of RANKS" for name in modules.texts if room(name) not in RANKS]


def absent(modules: Modules) -> list[str]:
    """Names in the rules that no module has: a rule over nothing holds nothing."""
    named = {*RANKS, *PURE, *EDGE, *AT_THE_EDGE, *WITH_A_CHILD, CHILD, ACTIONS, DOOR, *HARMLESS}
    named |= {*APART, *ALLOWED_APART, SERVICE, *NEVER_LOADED}
    there = {name for full in modules.texts for name in (full, room(full))}
    return [f"{name} is named by a rule, and is not there" for name in sorted(named - there)]


def upward(modules: Modules) -> list[str]:
    """Imports that do not go to a lower rank and do not stay in their room."""
    return [
        f"{one.module}:{one.line} (rank {RANKS[room(one.module)]}) imports {one.of} (rank {RANKS[room(one.of)]})"
        for one in modules.imports
        if one.ours and room(one.of) != room(one.module) and {room(one.of), room(one.module)} <= RANKS.keys()
        if RANKS[room(one.of)] >= RANKS[room(one.module)]
    ]


def impure(modules: Modules) -> list[str]:
    """What pure parts import that is not pure, and where they open a file."""
    found = [f"{one.module}:{one.line} imports {one.of}" for one in modules.imports if _impure(one)]
    calls = [(name, one) for name in filter(_is_pure, modules.texts) for one in _calls(modules.texts[name])]
    return found + [f"{name}:{one.lineno} calls {one.id}()" for name, one in calls if one.id in IO]


def _calls(text: str) -> Iterator[ast.Name]:
    """The names that are called."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func


def _is_pure(module: str) -> bool:
    return within(module, PURE)


def _impure(one: Import) -> bool:
    return _is_pure(one.module) and (not _is_pure(one.of) and one.of != "" if one.ours else room(one.of) in WORLD)


def ctypes_elsewhere(modules: Modules) -> list[str]:
    """Uses of ctypes that are not at the kernel's edge."""
    users = [one for one in modules.imports if room(one.of) in ("ctypes", "_ctypes") and not one.ours]
    return [f"{one.module}:{one.line} imports ctypes" for one in users if not within(one.module, EDGE)]


def kernel_elsewhere(modules: Modules) -> list[str]:
    """Imports of the kernel's edge by who has no business there."""
    return [
        f"{one.module}:{one.line} imports {one.of}"
        for one in modules.imports
        if one.ours and within(one.of, EDGE) and not within(one.module, EDGE)
        if room(one.module) not in AT_THE_EDGE or (room(one.module) in WITH_A_CHILD and one.of != CHILD)
    ]


def acting(modules: Modules) -> list[str]:
    """Ways to what changes the host that do not go through its door; and plans that could act."""
    found = []
    for one in modules.imports:
        if not one.ours or not within(one.of, [ACTIONS]) or one.of in HARMLESS:
            continue
        if one.module in HARMLESS or (not within(one.module, [ACTIONS]) and one.of != DOOR):
            found.append(f"{one.module}:{one.line} imports {one.of}")
    return found


def not_apart(modules: Modules) -> list[str]:
    """What rooms that stand apart import of ours beyond what they may."""
    return [
        f"{one.module}:{one.line} imports {one.of}"
        for one in modules.imports
        if one.ours and within(one.module, APART) and room(one.of) not in APART | ALLOWED_APART
    ]


def twins(modules: Modules) -> list[str]:
    """Classes of one name in two files."""
    where: dict[str, list[str]] = defaultdict(list)
    for name, text in modules.texts.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef):
                where[node.name].append(f"{name}:{node.lineno}")
    return [f"{name} is defined in {' and '.join(places)}" for name, places in where.items() if len(places) > 1]


def vague(modules: Modules) -> list[str]:
    """Files whose name says nothing."""
    return [f"{name}: what is in it?" for name in modules.texts if name.rpartition(".")[2] in VAGUE]
