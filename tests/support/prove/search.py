"""Tries many topologies that hypothesis makes up."""

import os
import pickle
import sys
import traceback
from collections.abc import Callable, Iterable

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded

from tests.support.prove.steps import Scenario
from tests.support.prove.steps import seeded as evenly
from tests.support.prove.strategy import scenarios
from tests.support.prove.tally import Tally
from tests.support.prove.worker import Try, worker


def each(examples: int, seed: int, function: Callable[[Scenario], None]) -> None:
    """Call the function with so many scenarios, the same ones for the same seed."""

    @seeded(seed)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(scenarios())
    def run(scenario: Scenario) -> None:
        function(scenario)

    run()


def search(examples: int, seed: int) -> Tally:
    """Try them all in one worker; each thousand is told."""
    tally = Tally()

    def note(attempt: Try, scenario: Scenario) -> None:
        tally.note(scenario, attempt(scenario))
        if tally.tried % 1000 == 0:
            print(f"{tally.tried:,} of {examples:,}", file=sys.stderr, flush=True)

    with worker() as attempt:
        each(examples, seed, lambda scenario: note(attempt, scenario))
    return tally


def fixed(seeds: Iterable[int]) -> Tally:
    """The same with scenarios that never change.

    hypothesis's do: it also tries constants that it finds in the modules which happen to be imported.
    """
    tally = Tally()
    with worker() as attempt:
        for scenario in map(evenly, seeds):
            tally.note(scenario, attempt(scenario))
    return tally


def first_wrong(mutant: str, seeds: Iterable[int]) -> int | None:
    """After how many fixed scenarios a wrong predictor is found out; None if it never is."""
    with worker(mutant) as attempt:
        wrong = (tried for tried, seed in enumerate(seeds, 1) if attempt(evenly(seed)).problem)
        return next(wrong, None)


def in_parallel(examples: int, seed: int, processes: int) -> Tally:
    """Try them in several processes, each with a seed and a worker of its own."""
    readers = []
    for number in range(processes):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                share = examples // processes + (number < examples % processes)
                with os.fdopen(writer, "wb") as pipe:
                    pickle.dump(search(share, seed + number), pipe)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
        os.close(writer)
        readers.append((reader, pid))
    tally = Tally()
    for reader, pid in readers:
        with os.fdopen(reader, "rb") as pipe:
            tally.add(pickle.load(pipe))
        os.waitpid(pid, 0)
    return tally
