"""One leak, made and declined."""

from mountwarden.model import Action, Finding

from tests.kernel.topology import ROOT, Home, state
from tests.support.scratch_ns import Namespace

MERGED = ROOT + b"/X/merged"

Leaked = tuple[Home, Namespace, Finding]
"""Its home, its holder and its finding."""


def leak(home: Home, holder: Namespace) -> Finding:
    """Unmount at home what the holder has a copy of."""
    home.umount(MERGED)
    assert holder.is_mounted(MERGED)
    (finding,) = home.leaked()
    assert holder.inode in finding.namespaces
    return finding


def declined(home: Home, holder: Namespace, finding: Finding, code: str, path: bytes = MERGED) -> str:
    """The detach is declined with that code, and directory and copy are as they were."""
    before, parent = home.run(lambda: (state(path), state(ROOT + b"/X")))
    outcome = home.act(finding, Action.DETACH)
    assert not outcome.done
    assert outcome.code == code, outcome.text
    assert home.run(lambda: (state(path), state(ROOT + b"/X"))) == (before, parent)
    assert holder.is_mounted(MERGED)
    return outcome.text
