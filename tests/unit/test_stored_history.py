"""What a restart keeps of the history: its text, its bounds, and which of it is taken up."""

import dataclasses
import json
import time
from pathlib import Path

import pytest
from mountwarden.model import Answers, Copy, Mount, Namespace, RootState, Spot, Use, UsersQuestion
from mountwarden.mounts.roots import Spots, root_state
from mountwarden.mounts.table import Table
from mountwarden.scan import stored_history
from mountwarden.scan.history import History
from mountwarden.scan.history_file import HistoryKeeper
from mountwarden.scan.stored_history import StoredHistory
from mountwarden.service.unsaved import Unsaved
from mountwarden.state import run_directory
from mountwarden.state.run_directory import RunDirectory

from tests.unit.pictures import HOME, OTHER, ROOT, host_root, layer, remembered, table

FIRST = StoredHistory("boot", 5.0)
STARTS = {1: 10, 70: 500}
SPACES = {HOME: Namespace(HOME, (1,)), OTHER: Namespace(OTHER, (70,))}
LIMIT = 16 << 20


def state(*names: str) -> RootState:
    mounts = (layer(number, 1, name, device=f"0:{38 + number}") for number, name in enumerate(names, 2))
    return root_state(ROOT, table(host_root(), *mounts), HOME)


def copy(held: Mount, namespace: int = OTHER) -> Copy:
    spot = Spot("8:1", held.point)
    return Copy(namespace, held, None, spot, Spots([state()]).match(spot))


def scan(history: History, now: RootState, *copies: Copy) -> tuple[History, list[bool]]:
    after, filled = remembered(history, now, copies)
    return after, [one.history is not None for one in filled]


def saved(history: History) -> StoredHistory:
    made = stored_history.save(history, SPACES, Answers(), STARTS.get, FIRST)
    text = stored_history.dump(made, LIMIT)
    again, why = stored_history.load(text, "boot")
    assert why is None
    assert again == made, "what is written is read back"
    return again


def taken_up(
    kept: StoredHistory,
    now: RootState,
    *copies: Copy,
    spaces: dict[int, Namespace] = SPACES,
    starts: dict[int, int] = STARTS,
) -> list[bool]:
    """Whether each copy has a history by the first scan of the next run."""
    tables = {HOME: Table((host_root(),))}
    history = stored_history.take_up(kept, copies, (now,), tables, spaces, starts.get)
    return scan(history, now, *copies)[1]


OLD = copy(layer(12, 11, device="0:40"))
NEW = dataclasses.replace(OLD, mount=dataclasses.replace(OLD.mount, unique=1 << 40))


@pytest.mark.parametrize("held", [OLD, NEW])
@pytest.mark.parametrize("left", [False, True])
def test_the_very_same_copy_has_its_history_again(held: Copy, left: bool) -> None:
    history, _ = scan(History(), state("X"), held)
    if left:
        history, _ = scan(history, state(), held)
    kept = saved(history)
    assert taken_up(kept, state(), held) == [True]
    assert taken_up(kept, state("X"), held) == [False], "home has it again"
    assert taken_up(kept, state()) == []


CHANGES = {"parent": 99, "fstype": "tmpfs", "super_options": b"rw", "device": "0:41", "root": b"/d", "id": 13}


@pytest.mark.parametrize("name", CHANGES)
def test_another_copy_has_none(name: str) -> None:
    history, _ = scan(History(), state("X"), OLD)
    other = dataclasses.replace(OLD, mount=dataclasses.replace(OLD.mount, **{name: CHANGES[name]}))  # type: ignore[arg-type]
    assert taken_up(saved(history), state(), other) == [False]


def test_another_namespace_with_the_inode_of_before_is_told_by_its_processes() -> None:
    history, _ = scan(History(), state("X"), OLD)
    kept = saved(history)
    assert taken_up(kept, state(), OLD, spaces=SPACES | {OTHER: Namespace(OTHER, (71,))}) == [False]
    assert taken_up(kept, state(), OLD, starts=STARTS | {70: 501}) == [False], "a pid is reused too"
    assert taken_up(kept, state(), OLD, spaces=SPACES | {OTHER: Namespace(OTHER, (69, 70, 71))}) == [True]
    bare = SPACES | {OTHER: Namespace(OTHER)}
    assert taken_up(kept, state(), OLD, spaces=bare) == [False]


def test_a_unique_id_needs_no_process_of_before() -> None:
    history, _ = scan(History(), state("X"), NEW)
    kept = saved(history)
    bare = SPACES | {OTHER: Namespace(OTHER)}
    assert taken_up(kept, state(), NEW, spaces=bare) == [True]
    other = dataclasses.replace(NEW, mount=dataclasses.replace(NEW.mount, unique=(1 << 40) + 1))
    assert taken_up(kept, state(), other) == [False]
    assert taken_up(kept, state(), OLD) == [True], "another tier: by the numbers"
    assert taken_up(kept, state(), OLD, spaces=bare) == [False]


def test_another_home_with_the_inode_of_before_never_had_the_mount() -> None:
    history, _ = scan(History(), state("X"), NEW)
    assert taken_up(saved(history), state(), NEW, starts=STARTS | {1: 11}) == [False]


def test_a_daemon_that_ended_meanwhile_takes_no_history_along() -> None:
    """Its root is judged in the same home; the finding must be of the root as it is now."""
    history, _ = scan(History(), state("X"), NEW)
    root = dataclasses.replace(ROOT, home=None, home_known=False)
    now = root_state(root, table(host_root()), HOME)
    kept = stored_history.take_up(saved(history), [NEW], (now,), {HOME: Table((host_root(),))}, SPACES, STARTS.get)
    _, (filled,) = remembered(kept, now, [NEW])
    assert filled.history is not None
    assert filled.history.root is root


def test_the_root_of_a_history_is_that_of_today_within_a_run_too() -> None:
    history, _ = scan(History(), state("X"), OLD)
    history, _ = scan(history, state(), OLD)
    root = dataclasses.replace(ROOT, home=None, home_known=False)
    now = root_state(root, table(host_root()), HOME)
    _, (filled,) = remembered(history, now, [OLD])
    assert filled.history is not None
    assert filled.history.root is root


def test_what_only_another_home_had_was_not_unmounted() -> None:
    """The daemon ended with its namespace; PID 1's, which is the home then, never had the mount."""
    own = OTHER + 1
    before = root_state(dataclasses.replace(ROOT, home=own, home_pid=9), table(host_root(), layer(2, 1)), own)
    history, _ = scan(History(), before, OLD)
    now = root_state(dataclasses.replace(ROOT, home=None, home_known=False), table(host_root()), HOME)
    assert scan(history, now, OLD)[1] == [False]


def test_what_processes_keep_open_needs_one_of_them() -> None:
    history, _ = scan(History(), state("X"), OLD)
    history, _ = scan(history, state())
    (gone,) = history.gone.values()
    answers = Answers(users={UsersQuestion(gone.ids): (Use(70, "tail", "fd 3"),)})
    kept = stored_history.save(history, SPACES, answers, STARTS.get, FIRST)
    kept, _why = stored_history.load(stored_history.dump(kept, LIMIT), "boot")
    tables = {HOME: Table((host_root(),))}
    again = stored_history.take_up(kept, (), (state(),), tables, SPACES, STARTS.get)
    (found,) = again.gone.values()
    assert (found.ids, found.match.spot, found.mount.device) == (gone.ids, gone.match.spot, "0:40")
    assert scan(again, state())[0].gone
    ended = stored_history.take_up(kept, (), (state(),), tables, SPACES, {1: 10}.get)
    assert not ended.gone
    unknown = stored_history.save(history, SPACES, Answers(), STARTS.get, FIRST)
    assert unknown.gone == (), "its ids may be another's by then"


NO_MOUNT = b'{"inode": 4, "processes": [], "copies": [[1, 0, 2, 0]]}'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, None),
        (b"", "can't be read"),
        (b"[]", "can't be read"),
        (b'{"schema": "mountwarden.history/9"}', "another version"),
        (b'{"schema": "mountwarden.history/1", "boot_id": "boot", "taken": -1}', "can't be read"),
        (b'{"schema": "mountwarden.history/1", "boot_id": "other"}', "another boot"),
        (b'{"schema": "mountwarden.history/1", "boot_id": "boot", "namespaces": [%b]}' % NO_MOUNT, "that it has not"),
    ],
)
def test_a_file_that_does_not_fit_is_no_history(text: bytes | None, why: str | None) -> None:
    kept, said = stored_history.load(text, "boot")
    assert kept == StoredHistory("boot")
    assert why is said is None or (why or "") in (said or "")


def many(layers: int, spaces: int) -> tuple[History, dict[int, Namespace]]:
    names = [f"{number:064x}" for number in range(layers)]
    copies = [
        copy(layer(100_000 + space * layers + n, 11, name, device=f"0:{40 + n}", unique=(1 << 40) + n), OTHER + space)
        for space in range(spaces)
        for n, name in enumerate(names)
    ]
    history, _ = scan(History(), state(*names), *copies)
    history, found = scan(history, state(), *copies)
    assert all(found)
    return history, {OTHER + space: Namespace(OTHER + space, (70,)) for space in range(spaces)} | {HOME: SPACES[HOME]}


@pytest.mark.parametrize(("layers", "spaces"), [(40, 301), (1000, 12)])
def test_thousands_of_copies_fit_and_are_cheap(layers: int, spaces: int) -> None:
    history, found = many(layers, spaces)
    began = time.process_time()
    made = stored_history.save(history, found, Answers(), STARTS.get, FIRST)
    again = stored_history.save(history, found, Answers(), STARTS.get, FIRST)
    assert made == again
    took = (time.process_time() - began) / 2
    began = time.process_time()
    text = stored_history.dump(made, LIMIT)
    wrote = time.process_time() - began
    print(f"{layers * spaces} copies: {len(text)} bytes, {took * 1e3:.0f} ms a scan, {wrote * 1e3:.0f} ms to write")
    assert len(text) < 2 << 20
    assert took < 0.3
    assert wrote < 0.5
    kept, why = stored_history.load(text, "boot")
    assert why is None
    assert kept == made


def test_what_would_be_too_long_is_cut_to_what_can_be_read_back() -> None:
    history, found = many(20, 20)
    made = stored_history.save(history, found, Answers(), STARTS.get, FIRST)
    whole = len(stored_history.dump(made, LIMIT))
    for limit in (whole - 1, whole // 2, whole // 5):
        text = stored_history.dump(made, limit)
        assert len(text) <= limit
        kept, why = stored_history.load(text, "boot")
        assert why is None
        assert kept.namespaces[0] == made.namespaces[0], "home's witnesses come first"
    nothing = json.loads(stored_history.dump(made, 10))
    assert (nothing["mounts"], nothing["namespaces"]) == ([], [])


def test_how_many_namespaces_were_too_much_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history, found = many(20, 20)
    made = stored_history.save(history, found, Answers(), STARTS.get, FIRST)
    monkeypatch.setattr(run_directory, "LARGEST", len(stored_history.dump(made, LIMIT)) // 2)
    run, unsaved = RunDirectory(tmp_path), Unsaved(lambda _level, _text: None)
    keeper = HistoryKeeper(run, unsaved.write, unsaved.left_out)
    keeper.keep(made)
    kept, why = stored_history.load(run_directory.read(run.history), "boot")
    left_out = len(made.namespaces) - len(kept.namespaces)
    assert (why, left_out > 0) == (None, True)
    assert unsaved.text == f"{run.history} lacks {left_out} entries"
    keeper.keep(FIRST)
    assert unsaved.text is None


def test_the_depths_of_stacks_are_read_back_and_go_first_where_it_is_too_long() -> None:
    made = dataclasses.replace(FIRST, depths=((70, 4), (71, 6)))
    assert stored_history.load(stored_history.dump(made, LIMIT), "boot") == (made, None)
    large = dataclasses.replace(made, namespaces=tuple(stored_history.SavedNamespace(n, ()) for n in range(9)))
    assert stored_history.load(stored_history.dump(large, 400), "boot")[0].depths == ()
