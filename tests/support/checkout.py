"""A copy of this checkout, for tests that set it up or install it: what git would commit, and nothing it ignores."""

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", "build", "dist", "__pycache__", ".*_cache", ".hypothesis", "*.egg-info"
)


def copy(to: Path) -> Path:
    """Copy the checkout to `to`, which must not exist yet, readable for all; returns `to`."""
    names = _known_to_git()
    if names is None:
        shutil.copytree(ROOT, to, symlinks=True, ignore=_LEFT_OUT)
        return to
    for name in names:
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, to / name, follow_symlinks=False)
    return to


def _known_to_git() -> list[str] | None:
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        return None
    listing = ["git", "-c", "safe.directory=*", "-C", str(ROOT), "ls-files", "-z", "-co", "--exclude-standard"]
    names = subprocess.run(listing, check=True, capture_output=True, text=True).stdout.split("\0")
    return [name for name in names if name and (ROOT / name).is_file()]
