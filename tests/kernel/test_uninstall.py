"""What removes our files removes nothing of a file system that is mounted among them."""

import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
MOUNTED = """
mount --make-rprivate / && mkdir -p "$1" && touch "$1/../ours" && mount -t tmpfs other "$1" && touch "$1/kept"
shift 1
"$@" 2>/dev/null
"""


@pytest.mark.parametrize("script", ["uninstall", "postrm"])
def test_a_file_system_below_a_directory_of_ours_is_left_alone(tmp_path: Path, script: str) -> None:
    ours = tmp_path / "etc/mountwarden"
    command = ["env", f"DESTDIR={tmp_path}", "PURGE=1", PROJECT / "packaging/uninstall"]
    if script == "postrm":
        text = (PROJECT / "packaging/debian/mountwarden.postrm").read_text()
        assert "rm -rf --one-file-system /run/mountwarden || :\n" in text
        command = [
            "sh",
            "-c",
            text.replace("/run/mountwarden", str(ours)).replace("#DEBHELPER#", ""),
            "postrm",
            "purge",
        ]
    check = ["sh", "-c", '"$@"; test -e "$0/kept" && test ! -e "$0/../ours"', ours / "mounted", *command]
    subprocess.run(["unshare", "-m", "sh", "-c", MOUNTED, "sh", ours / "mounted", *check], check=True)
