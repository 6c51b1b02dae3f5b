"""From the README's prerequisites to the main job, on machines that have nothing else."""

from pathlib import Path

import pytest

from tests.support import checkout, fresh

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(600),
    *fresh.NEEDS,
]

NO_PYSTEMD = "Package: python3-pystemd\\nPin: release *\\nPin-Priority: -1\\n"


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_make_run_does_it_all(suite: str, tmp_path: Path) -> None:
    source = checkout.copy(tmp_path / "source")
    place = tmp_path / "machine"
    place.mkdir()
    script = (
        "! command -v python3 || exit 99; make run || exit; echo =second=;"
        " date +%s.%N; packaging/setup; date +%s.%N; NO_APT=1 make run"
    )
    done = fresh.run(suite, source, place, script, timeout=540)
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = done.stdout.split("=second=\n")
    assert "apt-get install python3-venv python3-pystemd python3-sdnotify" in first
    for part in (first, second):
        assert "detached" in part
        assert "nothing is left behind" in " ".join(part.split())
    started, ended = (float(line) for line in second.splitlines()[:2])  # the set-up prints nothing between them
    print(f"{suite}: the set-up part of a second run took {ended - started:.2f} s")
    assert ended - started <= 5


def test_where_apt_has_no_pystemd_it_is_built_from_the_lock(tmp_path: Path) -> None:
    source = checkout.copy(tmp_path / "source")
    place = tmp_path / "machine"
    place.mkdir()
    script = (
        f"printf '{NO_PYSTEMD}' >/etc/apt/preferences.d/none; packaging/setup || exit; echo =second=;"
        " NO_APT=1 packaging/setup; .venv/bin/python -I -c 'import pystemd, sdnotify; print(pystemd.__file__)'"
    )
    done = fresh.run("bookworm", source, place, script, timeout=540)
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = done.stdout.split("=second=\n")
    assert "libsystemd-dev" in first
    assert "python3-pystemd" not in first
    assert second.startswith("/root/mountwarden/.venv/lib/"), second
