"""`make deb` on machines that have git and make, and nothing else: also with the debhelper of the newer Debian."""

from pathlib import Path

import pytest

from tests.support import checkout, fresh

pytestmark = [pytest.mark.long, pytest.mark.timeout(600), *fresh.NEEDS]


@pytest.mark.parametrize(
    ("suite", "units"), [("bookworm", "./lib/systemd/system"), ("trixie", "./usr/lib/systemd/system")]
)
def test_make_deb_and_apt_install(suite: str, units: str, tmp_path: Path) -> None:
    source = checkout.copy(tmp_path / "source")
    place = tmp_path / "machine"
    place.mkdir()
    script = (
        "make deb && dpkg-deb -c dist/*.deb && apt-get -q --yes install --no-install-recommends ./dist/*.deb &&"
        " cd / && mountwarden --version && systemctl is-enabled mountwarden.service"
    )
    done = fresh.run(suite, source, place, script, timeout=540)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    assert f" {units}/mountwarden.service\n" in done.stdout
    assert done.stdout.splitlines()[-2].startswith("mountwarden ")
    assert done.stdout.splitlines()[-1] == "enabled"
