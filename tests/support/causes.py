"""The product's own way from a leak on a test host to its cause, run there: a scan, holders, causes."""

import json
from typing import Any

from tests.support.machine import Machine

_CODE = r"""
import dataclasses, json, os, sys
from mountwarden.config.schema import Config, RootEntry
from mountwarden.explain import attribute
from mountwarden.explain.lasting_fix import lasting_fix
from mountwarden.scan.scanner import Scanner

pattern, engines = os.fsencode(sys.argv[2]), tuple(sys.argv[3:])
entries = () if engines else (RootEntry(os.fsencode(sys.argv[1]), layout=(pattern,)),)
seen = Scanner(Config(engines=engines, roots=entries)).scan()
answer = []
for finding in seen.findings:
    found, gaps = attribute.explain(finding, seen.picture)
    around, _ = attribute.surroundings(finding, seen.picture)
    fix = lasting_fix(found.cause, found, around) if found.cause else None
    answer.append({
        "kind": found.kind,
        "namespace_kind": found.first.namespace_kind,
        "holders": [[h.pid, h.comm, h.unit, h.container, h.user] for h in found.holders],
        "code": found.cause and found.cause.code,
        "text": found.cause and found.cause.text,
        "fix": fix and dataclasses.asdict(fix),
        "gaps": [[gap.what, gap.reason] for gap in gaps],
        "imported": "pystemd" in sys.modules,
    })
print(json.dumps(answer))
"""


def findings(
    host: Machine, root: str, *, pattern: str = "overlay2/*/merged", engine: str | None = None
) -> list[dict[str, Any]]:
    """What one scan of a test host finds below `root`, explained; with `engine`, below the roots of that engine."""
    done = host.python(_CODE, root, pattern, *([engine] if engine else []))
    answer: list[dict[str, Any]] = json.loads(done.stdout)
    return answer


def leaks(host: Machine, root: str) -> list[dict[str, Any]]:
    """Those of them that are leaks."""
    return [finding for finding in findings(host, root) if finding["kind"] == "leaked"]
