"""The way of the data, held over the imports: arrows never point back, and the kernel edge stays at the edge."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

AGENT = Path(__file__).parents[2] / "agent"
PACKAGE = "mountwarden"
FLOW = ["kernel", "observe", "engines", "inventory", "judge", "attribute", "ledger", "remedies", "tell"]
"""Who may import whom: each only what stands before it (and itself)."""
DRIVERS = {"look", "agent", "cli", "scratch", "graphdriver"}
"""What runs the flow; nothing of the flow imports it, but that an act looks again before it does anything."""


def _modules() -> dict[str, Path]:
    """Each module's dotted name below the package ("" for the package itself), and its file."""
    files = sorted((AGENT / PACKAGE).rglob("*.py"))
    return {_name(file): file for file in files}


def _name(file: Path) -> str:
    parts = file.relative_to(AGENT / PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = _modules()


@cache
def _imported(module: str) -> frozenset[str]:
    """Absolute dotted names that the module imports anywhere in its text, but not those for type checkers alone."""
    tree = ast.parse(MODULES[module].read_bytes())
    return frozenset(name for node in _running(tree) for name in _names(node, module))


def _running(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
            yield from _running(child)


def _names(node: ast.AST, module: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = _base(node, module)
        yield base
        # `from package import x` imports the module package.x, where there is one.
        yield from (f"{base}.{alias.name}" for alias in node.names if _own(f"{base}.{alias.name}") in MODULES)


def _base(node: ast.ImportFrom, module: str) -> str:
    if not node.level:
        return node.module or ""
    is_package = MODULES[module].name == "__init__.py"
    parts = [PACKAGE, *filter(None, module.split("."))]
    parts = parts[: len(parts) - node.level + is_package]
    return ".".join([*parts, *([node.module] if node.module else [])])


def _own(name: str) -> str | None:
    """The name below the package; None for what is not ours."""
    if name == PACKAGE:
        return ""
    return name.removeprefix(f"{PACKAGE}.") if name.startswith(f"{PACKAGE}.") else None


def _ours(module: str) -> set[str]:
    """Our modules that this one imports; the bare package, which holds constants only, is left out."""
    return {own for name in _imported(module) if (own := _own(name))}


def _within(module: str, *areas: str) -> bool:
    return any(module == area or module.startswith(f"{area}.") for area in areas)


def _area(module: str) -> str:
    return module.partition(".")[0]


def _reached(module: str) -> set[str]:
    """All our modules that importing this one may load, packages on the way included."""
    reached: set[str] = set()
    left = {module}
    while left:
        name = left.pop()
        if name in reached or name not in MODULES:
            continue
        reached.add(name)
        left |= _ours(name)
        left |= {".".join(name.split(".")[:depth]) for depth in range(1, name.count(".") + 1)}
    return reached


_LEDGER = ("ledger", "ledger_facts", "storms")
PURE = {
    "judge": ("judge",),
    **dict.fromkeys(_LEDGER, (*_LEDGER, "config")),
    **dict.fromkeys(("remedies.plan", "remedies.restart", "remedies.steps"), ("config", "remedies.restart", "shown")),
    "tell": ("tell", "shown"),
    **dict.fromkeys(("shown", "durations", "namespacing_directives"), ()),
}
"""The pure parts, and what they may import beside model and errors: themselves, the configuration's shape, escapes."""


@pytest.mark.parametrize("area", PURE)
def test_pure_part_imports_only_model_and_errors(area: str) -> None:
    for module in (name for name in MODULES if _within(name, area)):
        others = {name for name in _ours(module) if not _within(name, "model", "errors", *PURE[area])}
        assert not others - {area}, f"{module} imports {sorted(others)}"


def test_ctypes_only_at_the_kernel_edge() -> None:
    users = {module for module in MODULES if any(_within(name, "ctypes", "_ctypes") for name in _imported(module))}
    assert {module for module in users if not _within(module, "kernel")} == set()
    assert users, "the kernel edge itself uses ctypes, so this test would see nothing"


def test_kernel_is_imported_only_where_it_may_be() -> None:
    users = {module for module in MODULES if any(_within(name, "kernel") for name in _ours(module))}
    allowed = ("kernel", "observe", "graphdriver", "scratch", "agent", "remedies")
    assert {name for name in users if not _within(name, *allowed) or name == "remedies.plan"} == set()


def test_only_apply_loads_what_changes_the_host() -> None:
    changing = {name for name in MODULES if _within(name, "remedies") and "kernel" in {_area(x) for x in _ours(name)}}
    for module in (name for name in changing if name != "remedies.apply"):
        users = {name for name in MODULES if module in _ours(name)}
        outside = {name for name in users if not _within(name, "remedies")}
        assert not outside, f"{module} is imported by {sorted(outside)}"
        assert not users & {"remedies.plan", "remedies.restart", "remedies.steps"}, (
            "what only plans must not be able to act"
        )


def test_agent_never_reaches_the_graphdriver() -> None:
    for module in ("agent", "look"):
        assert not {name for name in _reached(module) if _within(name, "graphdriver")}


def test_the_graphdriver_stands_apart() -> None:
    for module in (name for name in MODULES if _within(name, "graphdriver")):
        assert {name for name in _ours(module) if not _within(name, "graphdriver", "kernel", "errors")} == set(), module


@pytest.mark.parametrize("area", FLOW)
def test_arrows_never_point_back(area: str) -> None:
    later = {*FLOW[FLOW.index(area) + 1 :], *DRIVERS}
    for module in (name for name in MODULES if _area(name) == area):
        allowed = {"look"} if module == "remedies.apply" else set()
        assert not {name for name in _ours(module) if _area(name) in later - allowed}, module


def test_model_errors_and_configuration_stand_alone() -> None:
    for module in (name for name in MODULES if _within(name, "model", "errors", "config")):
        assert {name for name in _ours(module) if not _within(name, "model", "errors")} == set()
