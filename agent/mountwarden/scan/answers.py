"""The answers to the judge's questions, from the engines' records and the kernel."""

from collections.abc import Iterable, Mapping

from .. import engines
from ..engines import Host
from ..explain.given import GivenMounts
from ..model import (
    Answers,
    ContainerQuestion,
    GivenQuestion,
    Namespace,
    PeerGroupQuestion,
    Question,
    RecordQuestion,
    UsersQuestion,
)
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
    ) -> Answers:
        """The answers with those to the questions added. `spaces` are all mount namespaces."""
        questions = tuple(questions)
        records = [one for one in questions if isinstance(one, RecordQuestion)]
        states = engines.records(self._host, [one.match for one in records])
        groups = [one for one in questions if isinstance(one, PeerGroupQuestion)]
        masters = observer.masters({one.group for one in groups}, spaces.values(), budgets) if groups else {}
        detached = [one for one in questions if isinstance(one, UsersQuestion)]
        asked = [one for one in questions if isinstance(one, ContainerQuestion)]
        members = {inode: space.pids for inode, space in spaces.items()}
        users, self.unused = self._pins.users((one.ids for one in detached), spaces.values(), budgets)
        given = self._given.answers([one for one in questions if isinstance(one, GivenQuestion)], members)
        return Answers(
            {**answers.records, **dict(zip(records, states, strict=True))},
            {**answers.masters, **{one: masters.get(one.group) for one in groups}},
            {**answers.users, **{one: users.get(one.ids, ()) for one in detached}},
            {**answers.containers, **{one: self._lives(one) for one in asked}},
            {**answers.given, **given},
        )

    def _lives(self, question: ContainerQuestion) -> bool | None:
        container = engines.container(question.match)
        return None if container is None else self._living.live(container)
