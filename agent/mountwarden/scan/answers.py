"""The answers to the judge's questions, from the engines' records and the kernel."""

from collections.abc import Iterable, Mapping, Sequence

from .. import engines
from ..engines import Host, ownership
from ..explain.given import GivenMounts
from ..model import (
    Answers,
    ContainerQuestion,
    GivenQuestion,
    Namespace,
    Owned,
    OwnerQuestion,
    Ownership,
    PeerGroupQuestion,
    Question,
    RecordQuestion,
    RootState,
    UsersQuestion,
)
from ..observe import process_roots
from ..observe.budgets import Budgets
from ..observe.container_processes import ContainerProcesses
from ..observe.detached_users import DetachedUsers
from ..observe.tiers.observer import Observer


class AnswerSources:
    """What questions are answered from."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._pins = DetachedUsers()
        self._living = ContainerProcesses()
        self._given = GivenMounts()
        self.unused: frozenset[frozenset[int]] = frozenset()
        """Mount ids of detached mounts that the last questions were about and that no process keeps."""

    def add(
        self,
        answers: Answers,
        questions: Iterable[Question],
        observer: Observer,
        spaces: Mapping[int, Namespace],
        budgets: Budgets | None = None,
        states: Sequence[RootState] = (),
        older_than: float = ownership.OLDER_THAN,
    ) -> Answers:
        """The answers with those to the questions added. `spaces` are all mount namespaces, `states` all roots.

        A daemon that has run for no longer than `older_than` seconds proves nothing.
        """
        questions = tuple(questions)
        records = [one for one in questions if isinstance(one, RecordQuestion)]
        known = engines.records(self._host, [one.match for one in records])
        groups = [one for one in questions if isinstance(one, PeerGroupQuestion)]
        masters = observer.masters({one.group for one in groups}, spaces.values(), budgets) if groups else {}
        detached = [one for one in questions if isinstance(one, UsersQuestion)]
        asked = [one for one in questions if isinstance(one, ContainerQuestion)]
        members = {inode: space.pids for inode, space in spaces.items()}
        users, self.unused = self._pins.users((one.ids for one in detached), spaces.values(), budgets)
        given = self._given.answers([one for one in questions if isinstance(one, GivenQuestion)], members)
        return Answers(
            {**answers.records, **dict(zip(records, known, strict=True))},
            {**answers.masters, **{one: masters.get(one.group) for one in groups}},
            {**answers.users, **{one: users.get(one.ids, ()) for one in detached}},
            {**answers.containers, **{one: self._lives(one) for one in asked}},
            {**answers.given, **given},
            {**answers.owners, **self._owners(questions, spaces, states, older_than)},
        )

    def _owners(
        self,
        questions: Iterable[Question],
        spaces: Mapping[int, Namespace],
        states: Sequence[RootState],
        older_than: float,
    ) -> dict[OwnerQuestion, Ownership]:
        """What no process lives in counts as without an owner; in what one has its root, somebody lives."""
        asked = [one for one in questions if isinstance(one, OwnerQuestion)]
        pairs = [(one.match, one.mount) for one in asked]
        found = ownership.owners(self._host, states, pairs, older_than=older_than) if pairs else []
        answers = dict(zip(asked, found, strict=True))
        if any(owner.state is Owned.GONE for owner in found):
            roots = process_roots.of(pid for space in spaces.values() for pid in space.pids)
            lived_in = (one for one in asked if one.mount.id in roots.mounts or one.mount.device in roots.devices)
            answers |= dict.fromkeys(lived_in, Ownership(Owned.YES))
        return answers

    def _lives(self, question: ContainerQuestion) -> bool | None:
        container = engines.container(question.match)
        return None if container is None else self._living.live(container)
