"""The JSON report as types: `data/report-2.schema.json` says the same in JSON Schema.

Fields may be added in /2, never removed or retyped. What is not known is null, never missing.
"""

from typing import TypedDict

SCHEMA = "mountwarden.report/2"


class HostJson(TypedDict):
    hostname: str
    kernel: str
    boot_id: str


class AgentJson(TypedDict):
    """Who wrote the report: the agent, and how often it writes a new one. Null in a report of the command line."""

    pid: int
    resync: float


class SummaryJson(TypedDict):
    findings: int
    by_kind: dict[str, int]
    by_severity: dict[str, int]
    roots: int
    namespaces: int
    mounts: int


class GapJson(TypedDict):
    what: str
    namespace: int | None
    reason: str
    count: int
    owner: str | None


class RootJson(TypedDict):
    path: str
    engine: str
    kind: str
    home: int | None
    home_known: bool
    propagation: str | None
    peer_group: int | None
    device: str | None
    fstype: str | None
    status: str
    policy: dict[str, str] | None


class SpotJson(TypedDict):
    device: str
    path: str


class MountIdJson(TypedDict):
    unique: int | None
    small: int | None


class NamespaceJson(TypedDict):
    inode: int | None
    id: int | None
    kind: str | None


class HolderJson(TypedDict):
    pid: int
    comm: str
    unit: str | None
    container: str | None
    user: int | None
    user_unit: str | None


class CauseJson(TypedDict):
    """The setting is null where none is the cause, and its file and line where none shows it."""

    code: str
    text: str
    unit: str | None
    directive: str | None
    value: str | None
    file: str | None
    line: int | None


class RemedyJson(TypedDict):
    action: str
    automatic: bool
    reason: str
    command: str | None
    by_hand: str | None
    """The same by a tool of the system; a report that an older version wrote has none."""
    declined: bool


class CopyJson(TypedDict):
    """What a finding is about in one mount namespace; all is null, but for the holders, where no mount is left."""

    namespace: NamespaceJson
    seen_at: str | None
    mount_id: MountIdJson
    reach: str | None
    given: str | None
    """Who was given it on purpose, and where; a report that an older version wrote has none."""
    holders: list[HolderJson]


class FindingJson(TypedDict):
    id: str
    kind: str
    severity: str
    confirmed: bool
    root: str
    engine: str
    mount_class: str
    layer: str | None
    mountpoint: str
    spot: SpotJson | None
    fstype: str
    device: str
    evidence: str | None
    cause: CauseJson | None
    silenced: bool
    remedies: list[RemedyJson]
    since: str | None
    due: str | None
    detail: str | None
    left_behind: str | None
    """What it is that nobody owns; a report that an older version wrote has neither this nor `frees`."""
    frees: str | None
    count: int
    namespaces: int
    copies: list[CopyJson]


def holders(finding: FindingJson) -> list[HolderJson]:
    """The holders of all copies that a finding names."""
    return [holder for copy in finding["copies"] for holder in copy["holders"]]


class ReportJson(TypedDict):
    schema: str
    version: str
    taken: str
    took_seconds: float
    tier: str
    mode: str
    paused: bool
    complete: bool
    host: HostJson
    agent: AgentJson | None
    summary: SummaryJson
    gaps: list[GapJson]
    roots: list[RootJson]
    findings: list[FindingJson]


class MomentJson(TypedDict):
    """One thing that happened. `at` is null where its time is not known; `after` and `before` are bounds of it."""

    what: str
    at: str | None
    after: str | None
    before: str | None
    text: str
    source: str | None


class LevelJson(TypedDict):
    """One mount on the path from a namespace's "/" to the copy. `cut`: no umount in home propagates beyond it."""

    point: str
    propagation: str
    peer_group: int | None
    master: int | None
    cut: bool


class SideJson(TypedDict):
    """The mounts on the path to the mountpoint in one namespace, outermost first; `mount` is what is mounted on it."""

    who: str
    namespace: int | None
    levels: list[LevelJson]
    mountpoint: str
    mount: str | None


class GroupJson(TypedDict):
    """In how many other mount namespaces home's peer group has a peer or, without one, a slave of its own."""

    id: int
    peers: int
    slaves: int


class ChainJson(TypedDict):
    """Home and the holder; `broken`: why umounts do not propagate from one to the other; null: they do, or unknown."""

    home: SideJson
    group: GroupJson | None
    holder: SideJson | None
    broken: str | None


class SettingJson(TypedDict):
    """A directive in effect that gives the unit its namespace; `file` is null where no file says it."""

    unit: str
    name: str
    value: str
    file: str | None
    line: int | None
    note: str | None


class FixJson(TypedDict):
    """What removes the cause for good: write `content` to `file`, then run `commands`."""

    text: str
    file: str | None
    content: str | None
    commands: list[str]


class BackgroundJson(TypedDict):
    """What explain says beyond the finding."""

    timeline: list[MomentJson]
    chain: ChainJson | None
    settings: list[SettingJson]
    fix: FixJson | None
