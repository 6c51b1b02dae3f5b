"""mountwarden demo: a real leak, made, reported, explained and ended, on a layer of its own."""

import os
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from ..config.schema import Config, RootEntry
from ..errors import MountwardenError
from ..escape import printable, sentence
from ..model import Action, Finding, Kind, Outcome, RootKind
from ..output import explain_text, report_text, terminal
from ..output.columns import cost, wrap
from ..report import build, types
from ..scratch import stage, topology
from . import options

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from ..scan.result import Scan
    from ..scan.scanner import Scanner

    Hold = Callable[[], AbstractContextManager[topology.ScratchHolder]]


def register(subparsers: "_SubParsersAction[options.Parser]") -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "demo",
        help="make a real leak on a layer of its own, and end it",
        description="Mounts an overlay layer in a scratch root, lets a copy leak, reports and explains it, forces its\n"
        "detach, and cleans up. As root where systemd runs, a transient unit holds the copy; elsewhere everything\n"
        "happens in namespaces of its own, which needs no root.",
        json=False,
        tier=False,
    )
    parser.set_defaults(run=run)


def run(arguments: Namespace) -> int:
    """Run the demo."""
    screen = terminal.of(sys.stdout, no_color=arguments.no_color)
    if topology.systemd_runs():
        status = topology.on_host(lambda directory: _on_host(directory, screen))
        left = "The unit is stopped, its layer and directory are removed: nothing is left behind."
    else:
        status = stage.stage(lambda: _in_stage(screen))
        left = "The namespaces ended with the demo, and all that was in them: nothing is left behind."
    if status == 0:
        print("\n" + "\n".join(wrap(left, screen.columns)))
    return status


def _on_host(directory: bytes, screen: terminal.Terminal) -> int:
    unit = os.fsdecode(os.path.basename(directory))
    where = f"On this host, below {printable(directory)} and in one transient unit; no other mount is touched."
    return Demo(directory, screen).run(where, lambda: topology.holder_unit(unit))


def _in_stage(screen: terminal.Terminal) -> int:
    directory = stage.covered() + b"/" + topology.NAME.encode()
    os.mkdir(directory)
    topology.require_overlay(directory)
    where = "In namespaces of its own, so that no mount of this host is touched (no systemd here, or no root)."
    return Demo(directory, screen).run(where, topology.holder_process)


class Demo:
    """The steps, each printed as it is done."""

    def __init__(self, root: bytes, screen: terminal.Terminal) -> None:
        self.root = root
        self.screen = screen
        columns = max(20, screen.columns - 3)
        self.inner = terminal.Terminal(columns, screen.colour, screen.ascii, screen.interactive)
        self.step = 0

    def run(self, where: str, hold: "Hold") -> int:
        """All of it; 0 when the leak was found and is gone. Raises: MountwardenError where it is not."""
        print(self.screen.paint("A leaked overlay mount, from its mount to its detach", "bold"))
        print("\n".join(wrap(where, self.screen.columns)))
        topology.root(self.root)
        scanner = self._scanner()
        self._title("An engine mounts a layer")
        layer = topology.mount_layer(self.root)
        self._say(f"overlay on {printable(layer.mountpoint)}, a real one")
        self._title("A service starts, with a mount namespace of its own")
        with hold() as holder:
            self._introduce(holder)
            scanner.scan()
            self._title("The engine unmounts the layer")
            topology.unmount_layer(layer)
            self._say("It is gone on the host. The umount does not reach the private copy: a mount has leaked.")
            finding = self._report(scanner)
            self._detach(finding, scanner)
            self._gone(scanner, holder)
        return 0

    def _scanner(self) -> "Scanner":
        from ..observe.enter import own_namespace
        from ..scan.scanner import Scanner

        config = Config(engines=(), roots=(RootEntry(self.root, kind=RootKind.GRAPH),))
        return Scanner(config, home=own_namespace())

    def _introduce(self, holder: topology.ScratchHolder) -> None:
        if holder.unit:
            self._say(f"{holder.unit}, PID {holder.pid}, with PrivateTmp=yes and MountFlags=private.")
        else:
            self._say(f"Process {holder.pid}, in a namespace made private, as MountFlags=private does for a unit.")
        self._say("It got a copy of every mount that there was, the layer among them.")

    def _report(self, scanner: "Scanner") -> Finding:
        from ..explain import shared_causes
        from ..report import assemble
        from ..scan import confirm

        self._title("mountwarden report")
        found = confirm.confirmed_scan(scanner, wait=5.0)
        findings, gaps = shared_causes.explained(found.findings, found.seen.picture)
        document = build.build(assemble.facts(found.seen, findings, scanner.config, gaps=gaps))
        self._quote(report_text.render(document, report_text.View(self.inner, time.time())))
        leaked = [finding for finding in found.findings if finding.kind is Kind.LEAKED and finding.confirmed]
        if len(leaked) != 1:
            raise MountwardenError(f"the demo's one leak was reported as {len(leaked)}", hint="please report this")
        one = next(one for one in document["findings"] if one["id"] == leaked[0].id)
        explained = next(finding for finding in findings if finding.id == leaked[0].id)
        self._explain(one, explained, found.seen, document["taken"])
        return leaked[0]

    def _explain(self, one: types.FindingJson, finding: Finding, seen: "Scan", taken: str) -> None:
        from ..remedies import apply
        from ..report.background import background

        self._title(f"mountwarden explain {finding.id}")
        steps = {
            remedy["action"]: [sentence(step) for step in apply.describe(finding, Action(remedy["action"]))]
            for remedy in one["remedies"]
        }
        around = background(finding, seen, agent=False)
        self._quote(explain_text.render(explain_text.Explanation(one, steps, time.time(), taken, around), self.inner))

    def _detach(self, finding: Finding, scanner: "Scanner") -> None:
        from ..remedies import apply

        self._title(f"mountwarden detach {finding.id}")
        before = time.monotonic()
        outcome = apply.carry_out(finding, scanner, Action.DETACH)
        took = time.monotonic() - before
        self._outcome(outcome)
        if not outcome.done:
            raise MountwardenError("the detach was declined", hint="the line above says why")
        self._say(f"Saw: {sentence(outcome.saw)}. Did: {sentence(outcome.did)}. {cost(took)} with every check.")

    def _gone(self, scanner: "Scanner", holder: topology.ScratchHolder) -> None:
        from ..report import assemble

        self._title("Gone")
        seen = scanner.scan(resync=True)
        document = build.build(assemble.facts(seen, seen.findings, scanner.config))
        self._quote(report_text.render(document, report_text.View(self.inner, time.time())))
        if seen.findings:
            raise MountwardenError("something is still found after the detach", hint="please report this")
        os.kill(holder.pid, 0)
        self._say(f"{holder.unit or 'The holder'} never noticed: it still runs as PID {holder.pid}.")

    def _title(self, text: str) -> None:
        self.step += 1
        print(f"\n{self.screen.paint(f'{self.step}. {text}', 'bold')}", flush=True)

    def _say(self, text: str) -> None:
        for part in wrap(text, self.screen.columns, first="   ", rest="   "):
            print(part, flush=True)

    def _quote(self, text: str) -> None:
        for part in text.rstrip("\n").split("\n"):
            print(f"   {part}".rstrip(), flush=True)

    def _outcome(self, outcome: Outcome) -> None:
        from ..report.outcomes import as_json
        from .outcomes import line

        for part in wrap(line(as_json(outcome, Config()), self.inner), self.inner.columns, rest="  "):
            self._quote(part)
