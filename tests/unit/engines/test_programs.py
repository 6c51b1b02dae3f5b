"""The names of engines' processes, beside the modules that know roots."""

from mountwarden import engines
from mountwarden.config.schema import ENGINES
from mountwarden.engines.programs import PROGRAMS

OF_NO_ENGINE = {"netns", "host"}
"""Modules for what programs of all sorts mount."""


def test_every_daemon_whose_roots_are_asked_for_is_told() -> None:
    assert PROGRAMS.keys() >= engines.COMMANDS
    assert all(PROGRAMS[name].modules for name in engines.COMMANDS)


def test_every_module_is_that_of_a_program() -> None:
    named = {module for program in PROGRAMS.values() for module in program.modules}
    assert named == set(ENGINES) - OF_NO_ENGINE


def test_names_are_as_the_kernel_cuts_them() -> None:
    assert all(len(name.encode()) <= 15 for name in PROGRAMS)
