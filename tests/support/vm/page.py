"""The table of kernels, for a terminal and as a page in docs. It holds nothing of the machine that it is made on."""

from collections.abc import Sequence
from typing import Any

from tests.bench.agent.idle import UNITS
from tests.support.vm.measure import CHANGES, MOUNTS, NAMESPACES
from tests.support.vm.session import Answers

_HEAD = """# Other kernels

`make kernels` boots Debian's own builds of these kernels, emulated by QEMU and with nothing but this checkout and a
small Debian userland in an initramfs, and writes this page. In each it makes a private root, leaks and severed copies
by hand, has the commands find and end them, and then runs the judge's and the remedies' tests on real mounts. Home is
the mount namespace whose view of a root counts, here that of the guest's PID 1. What a kernel supports is tried and
never concluded from its version: a newer 5.10 can add a mount to a peer group (MOVE_MOUNT_SET_GROUP), which came with
5.15.

"""
_COLUMNS = ("kernel", "tier", "demo", "judge", "detach", "service", "rejoin", "rmdir reaches", "cause", "tests")
_NOTES = """
- **tier**: the kernel interface that is used by default.
- **demo**: who can run `mountwarden demo`. Before Linux 5.11 only root of the host may mount an overlay.
- **judge**: a leak is found in the service and in the process that hold it, and the live copies are found as severed.
- **detach**: one detach ends the copies of both, and the layer's directory stays.
- **service**: `mountwarden agent` sees a layer live and then leaked, and ends the leak by itself.
- **rejoin**: the next umount at home reaches the service, and the next mount too; or why it is declined. In that case
  the copy that stays after the umount is ended by a detach.
- **rmdir reaches**: a plain rmdir(2) of the unmounted mountpoint ends the copy in another namespace.
- **cause**: the cause that is reported for the process that made a namespace of its own.
- **tests**: how many of tests/kernel passed; those that were skipped need an interface that this kernel does not have.
"""

_MEASURED = """
## What it costs there

Measured in each guest with {namespaces} namespaces of {mounts} mounts and more. **The processors are emulated**, on a
machine that did other work too, and one in each guest: a ratio says something, a time only that it is no longer than
that.

"""
_MEASURED_COLUMNS = (
    *("kernel", "after a mount of a layer", "after an umount of one", "after another mount"),
    *("leaks told", "median", "longest", "idle", f"beside {UNITS} leaky namespaces"),
)
_MEASURED_NOTES = """
- **after ...**: processor time of what the service scans after one change at home, beside that of reading all texts.
- **leaks told**: of those that were planted while layers and a few namespaces came and went, and the time from the
  umount to the confirmed finding, 1 s of confirm time included.
- **idle**: what the service takes of the emulated core, and how many times that with as many more namespaces, each
  of which has copies of all mounts and a leak of its own.
"""


def row(answers: Answers) -> tuple[str, ...]:
    """A kernel's line, under `_COLUMNS`."""
    return (
        _kernel(answers),
        str(answers.story["leak"]["json"]["tier"]),
        _demo(answers),
        _yes(judged(answers)),
        _yes(answers.outcome("detach")["done"] and not any(answers.story["copies after detach"])),
        _yes(answers.data["service"]["stays"] and answers.data["service"]["status"] == 0),
        _rejoin(answers),
        _yes(answers.facts["rmdir"] == "ok"),
        str(cause(answers)),
        _tests(answers),
    )


def measured(answers: Answers) -> tuple[str, ...]:
    """A kernel's line, under `_MEASURED_COLUMNS`."""
    told = answers.data["measured"]
    churn, idle = told["churn"], told["idle"]
    return (
        _kernel(answers),
        *(f"{told['scan'][change]:.2f} x" for change in CHANGES),
        f"{churn['told']} of {churn['planted']}",
        f"{churn['median']:.1f} s" if churn["told"] else "",
        f"{churn['longest']:.1f} s" if churn["told"] else "",
        f"{100 * idle['alone']:.1f} %",
        f"{idle['beside'] / idle['alone']:.1f} x",
    )


def judged(answers: Answers) -> bool:
    """Whether what was leaked and severed was found, in both namespaces, and nothing else."""
    found = sorted((f["kind"], *sorted(_spaces(f))) for f in answers.story["leak"]["json"]["findings"])
    return found == [("leaked", "process", "service"), ("severed", "process"), ("severed", "service")]


def _spaces(finding: Any) -> list[str]:
    return [copy["namespace"]["kind"] for copy in finding["copies"]]


def cause(answers: Answers) -> str | None:
    """The code of the cause that is told of the process that unshared: of a finding's first copy."""
    told = answers.story["leak"]["json"]["findings"]
    causes = {f["cause"]["code"] for f in told if _spaces(f)[:1] == ["process"] and f["cause"]}
    return " ".join(sorted(causes)) or None


def text(all_answers: Sequence[Answers]) -> str:
    """Both tables in columns."""
    figures = [_MEASURED_COLUMNS, *map(measured, all_answers)]
    return "\n".join((_text([_COLUMNS, *map(row, all_answers)]), "", "emulated:", _text(figures)))


def _text(lines: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(x, widths, strict=True)).rstrip() for x in lines
    )


def page(all_answers: Sequence[Answers]) -> str:
    """The whole page."""
    interfaces = list(all_answers[0].facts)
    versions = [_kernel(answers) for answers in all_answers]
    has = [(name, *(_has(answers.facts[name]) for answers in all_answers)) for name in interfaces]
    return (
        _HEAD
        + _markdown([_COLUMNS, *map(row, all_answers)])
        + _NOTES
        + _MEASURED.format(namespaces=NAMESPACES, mounts=MOUNTS)
        + _markdown([_MEASURED_COLUMNS, *map(measured, all_answers)])
        + _MEASURED_NOTES
        + "\n## What each of them has\n\n"
        + "Each is tried by a system call in the guest; where it is missing, the error is shown.\n\n"
        + _markdown([("", *versions), *has])
        + f"\nThe guests' userland has Python {all_answers[0].data['python']}.\n"
    )


def _markdown(lines: Sequence[tuple[str, ...]]) -> str:
    head, *rest = lines
    rule = tuple("---" for _ in head)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, rule, *rest))


def _kernel(answers: Answers) -> str:
    """Of Debian's version, the release that it was made from."""
    return answers.run.version.partition("-")[0]


def _has(told: str) -> str:
    return "yes" if told == "ok" else told


def _yes(done: bool) -> str:
    return "yes" if done else "no"


def _demo(answers: Answers) -> str:
    able = [name for name, told in answers.data["demo"].items() if told["status"] == 0]
    return {("root", "nobody"): "everybody", ("root",): "root"}.get(tuple(able), "no")


def _rejoin(answers: Answers) -> str:
    outcome = answers.outcome("rejoin")
    if outcome["done"]:
        return _yes(answers.story["new mount seen"] and not answers.story["copy after umount"])
    return str(outcome["text"]).partition("(")[0].strip()


def _tests(answers: Answers) -> str:
    outcomes = [kind for kind, _text in answers.data["tests"]["outcomes"].values()]
    counts = {kind: outcomes.count(kind) for kind in ("passed", "failure", "error", "skipped")}
    return ", ".join(f"{number} {kind}" for kind, number in counts.items() if number)
