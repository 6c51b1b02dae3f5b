"""Several children that answer at once, and a search that is spread over them."""

import os
import time

import pytest
from mountwarden.errors import NoAnswer
from mountwarden.kernel import child
from mountwarden.observe import open_files, read_ahead
from mountwarden.observe.open_files import AttachedMounts

from tests.support.scratch_ns import hold


def test_each_answers_from_a_child_of_its_own_at_the_same_time() -> None:
    def one() -> int:
        time.sleep(0.5)
        return os.getpid()

    began = time.monotonic()
    answers = child.ask_each([one] * 4, deadline=10)
    assert time.monotonic() - began < 4 * 0.5
    assert len({os.getpid(), *map(str, answers)}) == 5


def test_one_that_hangs_costs_the_others_no_answer() -> None:
    first, second, third = child.ask_each([lambda: 1, lambda: time.sleep(60), lambda: 3], deadline=1.0)
    assert (first, third) == (1, 3)
    assert isinstance(second, NoAnswer)


def test_what_one_raises_is_raised_when_all_have_ended() -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        child.ask_each([lambda: "x" * (1 << 20), lambda: os.stat("/nowhere")], deadline=10)


@pytest.mark.parametrize("processors", [1, 3])
def test_a_search_finds_the_same_in_as_many_children_as_there_are_processors(
    monkeypatch: pytest.MonkeyPatch, processors: int
) -> None:
    monkeypatch.setattr(open_files, "FEW", 2)
    monkeypatch.setattr(read_ahead, "_threads", processors)
    asked: list[int] = []
    ask_each = child.ask_each
    monkeypatch.setattr(child, "ask_each", lambda parts, **how: asked.append(len(parts)) or ask_each(parts, **how))
    with hold(propagation="private") as one, hold() as two, hold() as three:
        pids = [one.pid, two.pid, three.pid, os.getpid()]
        links, _hung = open_files.links_beside(pids, AttachedMounts(), 10.0)
        mounts, _hung = open_files.mounts_beside(pids, AttachedMounts(), 10.0)
    assert asked == [processors] * 2
    assert {link.pid for link in links} == set(pids)
    found = {(mount, pid) for mount, users in mounts.items() for pid in users}
    assert found == {(link.mount, link.pid) for link in links}
