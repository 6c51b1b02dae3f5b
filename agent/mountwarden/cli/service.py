"""The running service as the source of answers, over its Varlink socket, or that of another host over ssh."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

from ..escape import printable, seconds
from ..model import Severity
from ..output.columns import age
from ..report import types
from ..report.answers import ExplainedJson, OverJson, PlannedJson
from ..report.outcomes import NOT_REACHED, OutcomeJson
from ..varlink.client import Client
from . import remote
from .source import Order

_REPORT = 15.0
"""Seconds for the report of a service that has answered before: it scans for it, and asks for thousands of owners."""
_ANSWER = 15.0
"""Seconds for an answer of a service that has answered before: it may ask PID 1 and the journal."""
_OUTCOME = 120.0
"""Seconds for the next outcome of an action."""

AT_ONCE = 1000
"""Findings of one call of Act, as many as the service takes."""


class RunningService:
    """What the service says. It has answered once already."""

    note: str | None = None

    def __init__(self, client: Client, host: str | None = None) -> None:
        """`host` is the other host, whose text is made printable again; None for this one, whose is already."""
        self._client, self._host = client, host
        if host is not None:
            self.note = f"the answer of the service of {printable(host)}"

    def report(self, *, wait: float, everything: bool = False) -> types.ReportJson:
        """As AnswerSource.report: the service confirms by itself, so only the time is waited for."""
        until = time.monotonic() + wait
        document = self._report()
        while (need := _need(document, until - time.monotonic(), everything=everything)) is not None:
            scanning_again(need)
            time.sleep(need)
            document = self._report()
        return document

    def _report(self) -> types.ReportJson:
        document = self._call("Report", _REPORT, scan=True)["report"]
        return cast("types.ReportJson", remote.of_schema(document, types.SCHEMA, self._host))

    def explain(self, finding_id: str, *, wait: float) -> ExplainedJson | OverJson:
        """As AnswerSource.explain; the wait is the report's matter."""
        return cast("ExplainedJson | OverJson", self._call("Explain", _ANSWER, id=finding_id)["explanation"])

    def plan(self, ids: Sequence[str], *, wait: float) -> list[PlannedJson]:
        """As AnswerSource.plan."""
        return cast("list[PlannedJson]", self._call("Plan", _ANSWER, **({"ids": list(ids)} if ids else {}))["plan"])

    def act(self, order: Order, go_on: Callable[[], bool]) -> Iterator[OutcomeJson]:
        """As AnswerSource.act. What the service has begun, it ends, whether it is listened to or not."""
        asked: dict[str, object] = {
            "action": str(order.action),
            "dryRun": order.dry_run,
            "lazy": order.lazy,
            "unit": order.unit,
        }
        if order.also_unread:
            asked["also_unread"] = sorted(order.also_unread)
        left = list(order.ids)
        while left:
            ids, left = left[:AT_ONCE], left[AT_ONCE:]
            unreached: list[OutcomeJson] = []
            for reply in self._client.stream("io.mountwarden.Act", {**asked, "ids": ids}, deadline=_OUTCOME):
                found = cast("list[OutcomeJson]", reply["outcomes"])
                unreached += [one for one in found if one["code"] == NOT_REACHED]
                yield from (one for one in found if one["code"] != NOT_REACHED)
                if not go_on():
                    return
            if len(unreached) == len(ids):
                yield from unreached
            else:  # it gives a call some seconds, and has done a part of this one
                left = [*(one["finding_id"] for one in unreached), *left]

    def status(self) -> dict[str, Any]:
        """The document of `mountwarden status`."""
        return cast("dict[str, Any]", self._call("Status", remote.HERE)["status"])

    def watch(self, lines: int) -> Iterator[dict[str, Any]]:
        """The last so many events, then each as it comes."""
        for reply in self._client.stream("io.mountwarden.Watch", {"lines": lines}):
            yield self._printable(reply)["event"]

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def _call(self, method: str, deadline: float, **parameters: object) -> dict[str, Any]:
        deadline = deadline if self._host is None else remote.THERE
        return self._printable(self._client.call(f"io.mountwarden.{method}", parameters, deadline=deadline))

    def _printable(self, reply: dict[str, Any]) -> dict[str, Any]:
        return reply if self._host is None else cast("dict[str, Any]", remote.clean(reply))


def _need(document: types.ReportJson, left: float, *, everything: bool) -> float | None:
    """Seconds until all that can be confirmed within `left` seconds is; None where nothing is to be waited for."""
    waiting = [
        seconds(finding["due"]) - time.time()
        for finding in document["findings"]
        if finding["due"] and (everything or finding["severity"] != Severity.INFO)
    ]
    return max((need for need in waiting if 0 < need <= left), default=None)


def scanning_again(duration: float) -> None:
    """Say at a terminal that a long wait begins; `duration` is in seconds."""
    if sys.stderr.isatty() and duration >= 2:
        text = f"scanning again in {age(duration)}: an engine may be in the middle of unmounting"
        print(text, file=sys.stderr, flush=True)
