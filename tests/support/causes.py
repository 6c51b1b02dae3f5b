"""The product's own way from a leak on a test host to its cause, run there: inventory, judge, holders, cause."""

import json
from typing import Any

from tests.support.machine import Machine

_CODE = r"""
import json, os, sys
from mountwarden import advice, attribute, circumstances, inventory
from mountwarden.judge import judge
from mountwarden.model import Copy, Layout, Namespace, Picture, Root, RootKind, Tier
from mountwarden.observe import namespaces, procs
from mountwarden.observe.mountinfo import Table

path, pattern, fstype, wants_private = *map(os.fsencode, sys.argv[1:3]), sys.argv[3], len(sys.argv) > 4
root = Root(path, "docker", RootKind.GRAPH, (Layout(pattern, fstype or None),), None, wants_private=wants_private)
members = namespaces.members(procs.pids(), threads=False).by_inode
tables = {inode: Table.from_text(namespaces.read_mountinfo(inode, pids)) for inode, pids in members.items()}
home = procs.link_inode(1, "mnt")
state = inventory.root_state(root, tables[home], home)
spots = inventory.Spots((state,))
copies = []
for inode, table in tables.items():
    for mount in table.mounts if inode != home else ():
        spot = table.spot(mount)
        match = spots.match(spot) if spot else None
        if match:
            copies.append(Copy(inode, mount, table.get(mount.parent), spot, match))
identities = frozenset(mount.identity for mount in tables[home].mounts)
spaces = {inode: Namespace(inode, pids) for inode, pids in members.items()}
picture = Picture("boot", Tier.MOUNTINFO, (state,), spaces, tuple(copies), 0, identities)
answer = []
for finding in attribute.attribute_all(judge(picture, {}).findings, picture):
    found, gaps = attribute.explain(finding, picture)
    text, _ = attribute._mountinfo(spaces.get(finding.namespace))
    around, _ = circumstances.gather(finding, text, attribute._home(finding, picture))
    answer.append({
        "kind": found.kind,
        "namespace_kind": found.namespace_kind,
        "holders": [[h.pid, h.comm, h.unit, h.container, h.user] for h in found.holders],
        "code": found.cause and found.cause.code,
        "text": found.cause and found.cause.text,
        "fix": found.cause and advice.lasting_fix(found.cause, found, around),
        "gaps": [[gap.what, gap.reason] for gap in gaps],
        "imported": "pystemd" in sys.modules,
    })
print(json.dumps(answer))
"""


def findings(
    host: Machine,
    root: str,
    *,
    pattern: str = "overlay2/*/merged",
    fstype: str = "overlay",
    wants_private: bool = False,
) -> list[dict[str, Any]]:
    """The findings below one root of a test host, as the product judges and explains them there."""
    arguments = (root, pattern, fstype, *(["private"] if wants_private else []))
    answer: list[dict[str, Any]] = json.loads(host.python(_CODE, *arguments).stdout)
    return answer


def leaks(host: Machine, root: str, **more: Any) -> list[dict[str, Any]]:
    """Those of them that are leaks."""
    return [finding for finding in findings(host, root, **more) if finding["kind"] == "leaked"]
