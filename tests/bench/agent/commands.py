"""What commands cost that read everything: `map` and `doctor` beside `report`, and it by processors and size."""

from collections.abc import Sequence

from tests.bench.agent import idle
from tests.bench.agent.answers import REPORT, RIVALS
from tests.bench.agent.figures import Aim, Line, middle, milliseconds, paired
from tests.bench.agent.hosts import Bench, Crowd, Run
from tests.bench.agent.page import Section

WHOLE = {"map": ("mountwarden", "map", "--json", "--no-wait"), "doctor": ("mountwarden", "doctor", "--json")}
CPU = Aim(1.5)
MEMORY = Aim(64, "MiB")
PROCESSORS = Aim(0.6)
TEXTS = Aim(1.3)


def large(bench: Bench) -> list[Section]:
    """A large host: the commands, then the service."""
    with bench.crowd(*bench.large) as crowd:
        crowd.use_tier("mountinfo")
        runs = crowd.turns({"report": REPORT, **WHOLE}, bench.few(1, 2))
        whole = [line for name in WHOLE for line in _whole(name, runs[name], runs["report"])]
        lines = [*whole, _peak("report", runs["report"]), _processors(crowd, bench.few(2, 5))]
        return [Section(f"Commands at {crowd.size}", lines), *idle.large(bench, crowd)]


def many(bench: Bench) -> list[Section]:
    """Very many small namespaces."""
    with bench.crowd(bench.few(100, 5000), 30) as crowd:
        crowd.use_tier("mountinfo")
        times = crowd.turns({"report": REPORT, "cat": RIVALS["cat"]}, bench.few(2, 5))
    line = _cpu("processor time of `report`", times["report"], times["cat"], "`cat` of all texts", TEXTS)
    return [Section(f"A report at {crowd.size}", [line])]


def _whole(name: str, runs: Sequence[Run], report: Sequence[Run]) -> list[Line]:
    return [_cpu(f"processor time of `{name}`", runs, report, "`report`", CPU), _peak(name, runs)]


def _cpu(what: str, ours: Sequence[Run], theirs: Sequence[Run], told: str, aim: Aim) -> Line:
    mine, other = ([run.cpu for run in runs] for runs in (ours, theirs))
    beside = f"{told}: {milliseconds(middle(other))}"
    return Line(what, milliseconds(middle(mine)), beside, paired(mine, other), aim, leads=True)


def _peak(name: str, runs: Sequence[Run]) -> Line:
    peak = max(run.peak for run in runs)
    aim = MEMORY if name in WHOLE else None
    return Line(f"memory of `{name}` at most", f"{peak:.1f} MiB", aim=aim, measured=peak, leads=aim is not None)


def _processors(crowd: Crowd, rounds: int) -> Line:
    runs = crowd.turns({"all": REPORT, "one": ("taskset", "-c", "0", *REPORT)}, rounds)
    ours, theirs = ([run.wall for run in runs[name]] for name in ("all", "one"))
    what, beside = "wall time of `report`, all processors", f"one (`taskset -c 0`): {milliseconds(middle(theirs))}"
    return Line(what, milliseconds(middle(ours)), beside, paired(ours, theirs), PROCESSORS, leads=True)
