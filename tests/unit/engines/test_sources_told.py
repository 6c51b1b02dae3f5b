"""Every engine's module says where its facts are from, and has its layouts in the list of all."""

import importlib
import pkgutil
import re
from types import ModuleType

import pytest
from mountwarden import engines
from mountwarden.config.schema import ENGINES

MODULES = [importlib.import_module(f"mountwarden.engines.{one.name}") for one in pkgutil.iter_modules(engines.__path__)]
OF_ENGINES = [module for module in MODULES if hasattr(module, "ENGINE") and module.ENGINE != "custom"]
NAMES = [module.ENGINE for module in OF_ENGINES]


def test_every_engine_has_a_module_layouts_and_a_name_in_the_configuration() -> None:
    assert sorted(NAMES) == sorted(ENGINES) == sorted(engines.LAYOUTS) == sorted(engines._ROOTS)
    assert all(engines.LAYOUTS[module.ENGINE] is module.LAYOUTS for module in OF_ENGINES)


def test_every_layout_of_a_module_is_in_its_list() -> None:
    for module in OF_ENGINES:
        named = [value for name, value in vars(module).items() if name.endswith("_LAYOUT")]
        assert all({*layouts} <= {*module.LAYOUTS} for layouts in named), module.__name__


@pytest.mark.parametrize("module", OF_ENGINES, ids=NAMES)
def test_every_engines_facts_have_a_source(module: ModuleType) -> None:
    """A project's or the kernel's file, with the function, and what is done after an umount and what is recorded."""
    told = re.sub(r"\s+", " ", module.__doc__ or "")
    assert re.search(r"\b[\w.-]+/[\w./ -]+\.(go|c)\b,? [^.]*\w+\(\)", told), "no file with a function"
    assert re.search(r"\b(umount|unmount)", told), "nothing of what is done after an umount"
    assert re.search(r"\brecord", told), "nothing of what the engine records"
