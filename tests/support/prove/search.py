"""Tries many topologies that hypothesis makes up."""

import os
import pickle
from collections.abc import Callable

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded

from tests.support.prove.steps import Scenario, scenarios
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
    """Try them all in one worker."""
    tally = Tally()
    with worker() as attempt:
        each(examples, seed, lambda scenario: tally.note(scenario, attempt(scenario)))
    return tally


def first_wrong(mutant: str, examples: int, seed: int) -> int | None:
    """After how many examples a wrong predictor is found out; None if it never is."""
    tried = 0
    wrong: list[int] = []

    def attempt_until_wrong(attempt: Try, scenario: Scenario) -> None:
        nonlocal tried
        tried += 1
        if not wrong and attempt(scenario).problem:
            wrong.append(tried)

    with worker(mutant) as attempt:
        each(examples, seed, lambda scenario: attempt_until_wrong(attempt, scenario))
    return wrong[0] if wrong else None


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
