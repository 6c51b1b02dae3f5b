"""The table of the directives that make a mount namespace, beside systemd.exec(5) as systemd ships it."""

import gzip
import re
from dataclasses import dataclass

import pytest
from mountwarden.systemd.namespacing_directives import TABLE

from tests.host.test_namespacing_directives import RENAMED, SINCE
from tests.support import tree

OURS = {row.name for row in TABLE}

SECTIONS = ("PATHS", "USER/GROUP IDENTITY", "SANDBOXING", "CREDENTIALS")
"""Those of the page in which each directive has to be in the table or in NONE; elsewhere one whose text hints at it."""

HINT = re.compile(r"mount namespac|file ?system (mount )?namespac|(MountAPIVFS|PrivateMounts)=\w* is implied")

_WORDS = """
ExecSearchPath WorkingDirectory RootImageOptions RootEphemeral RootHash RootHashSignature RootVerity
RootImagePolicy MountImagePolicy ExtensionImagePolicy
User Group SupplementaryGroups SetLoginEnvironment PAMName
RuntimeDirectoryMode StateDirectoryMode CacheDirectoryMode LogsDirectoryMode ConfigurationDirectoryMode
StateDirectoryQuota CacheDirectoryQuota LogsDirectoryQuota RuntimeDirectoryPreserve TimeoutCleanSec
StateDirectoryAccounting CacheDirectoryAccounting LogsDirectoryAccounting
PrivateUsers UserNamespacePath DelegateNamespaces ProtectHostname ProtectClock
RestrictAddressFamilies RestrictFileSystems RestrictNamespaces RestrictRealtime RestrictSUIDSGID
BPFDelegateCommands BPFDelegateMaps BPFDelegatePrograms BPFDelegateAttachments
LockPersonality MemoryDenyWriteExecute MemoryKSM MemoryTHP RemoveIPC NoNewPrivileges SystemCallFilter
LoadCredential LoadCredentialEncrypted SetCredential SetCredentialEncrypted ImportCredential
"""
NONE = frozenset(_WORDS.split())
"""Directives of the pages of 252, 257 and 262 that make no mount namespace, though some act in one that others make."""


@dataclass(frozen=True)
class Entry:
    """What the page says of directives that it describes together."""

    section: str
    names: tuple[str, ...]
    text: str


def entries(page: str) -> list[Entry]:
    """The entries of a manual page that DocBook made: .PP, a line with the names, .RS 4, the text."""
    found: list[Entry] = []
    for part in re.split(r"^\.SH ", page, flags=re.MULTILINE):
        section, _, rest = part.partition("\n")
        pieces = re.split(r"^\.PP\n((?:\\f[IB][A-Z]\w+=).*)\n\.RS 4\n", rest, flags=re.MULTILINE)
        for term, text in zip(pieces[1::2], pieces[2::2], strict=True):
            names = tuple(re.findall(r"\\f[IB]([A-Z]\w+)=", term))
            found.append(Entry(section.strip('"'), names, plain(text)))
    return found


def plain(text: str) -> str:
    """Running text without fonts, requests and line breaks."""
    return " ".join(re.sub(r"\\f[A-Z]|\\&|^\.\w+ ?", "", text, flags=re.MULTILINE).split())


@dataclass(frozen=True)
class Page:
    """systemd.exec(5) of a suite."""

    version: int
    entries: list[Entry]

    def names(self) -> set[str]:
        return {name for entry in self.entries for name in entry.names}


@pytest.fixture(scope="module", params=[tree.SUITE, pytest.param("trixie", marks=pytest.mark.long)])
def page(request: pytest.FixtureRequest) -> Page:
    if reason := tree.obstacle(request.param):
        pytest.skip(reason)
    with gzip.open(f"{tree.tree(request.param)}{tree.EXEC_PAGE}", "rt") as file:
        text = file.read()
    title = re.search(r'^\.TH .*"systemd (\d+)', text, re.MULTILINE)
    assert title
    return Page(int(title[1]), entries(text))


def test_the_page_was_read(page: Page) -> None:
    assert {entry.section for entry in page.entries} >= set(SECTIONS)
    assert len(page.names()) > 130
    assert all(entry.text for entry in page.entries)


def test_the_table_has_what_makes_a_mount_namespace_by_the_page(page: Page) -> None:
    concerned = [entry for entry in page.entries if entry.section in SECTIONS or HINT.search(entry.text)]
    assert {name for entry in concerned for name in entry.names} - OURS - NONE == set(), "to be classified"


def test_a_directive_has_one_class() -> None:
    assert not OURS & NONE


def test_the_page_has_what_the_table_has(page: Page) -> None:
    later = {name for name, since in SINCE.items() if since > page.version}
    assert OURS - page.names() == later | set(RENAMED)
