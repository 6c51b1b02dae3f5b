"""The wheel and the source archive on a machine that has neither the checkout nor the system's Python packages."""

import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support import fresh
from tests.support.builds import Builds

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(400),
    *fresh.NEEDS,
]

TOOLS = "python3-venv gcc pkg-config libsystemd-dev python3-dev"
USE = """
PATH=/root/NAME/bin:$PATH
set -e
cd /
mountwarden --version
mountwarden report --json >/tmp/report.json || [ $? -le 2 ]
python3 - <<'END'
import importlib.metadata, json, pystemd, sdnotify, inotify_simple
from mountwarden.output import report_file
report = json.load(open("/tmp/report.json"))
print(report["schema"], report_file.schema()["title"], pystemd.__file__)
END
mountwarden demo
"""
"""PID 1 is a shell there, so the report could not tell what is wrong on the host: its exit status is 2."""


def test_pip_alone_installs_wheel_and_source_archive(builds: Builds, tmp_path: Path) -> None:
    source, place = tmp_path / "source", tmp_path / "machine"
    source.mkdir()
    place.mkdir()
    for file in (builds.wheel(), builds.archive()):
        shutil.copy(file, source)
    steps = [f"apt-get -q update && apt-get -q --yes install --no-install-recommends {TOOLS} || exit"]
    for name, file in (("wheel", builds.wheel()), ("archive", builds.archive())):
        steps.append(f"python3 -m venv /root/{name} && /root/{name}/bin/pip install ./{file.name} || exit")
    for name in ("wheel", "archive"):
        steps.append(f"(echo =={name}==; {USE.replace('NAME', name)}) || exit")
    done = fresh.run("bookworm", source, place, "\n".join(steps), timeout=390)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    for name in ("wheel", "archive"):
        lines = done.stdout.split(f"=={name}==\n")[1].splitlines()
        assert lines[0].startswith("mountwarden "), lines
        assert lines[1].startswith("mountwarden.report/2 "), lines
        assert lines[1].endswith(f"/root/{name}/lib/python3.11/site-packages/pystemd/__init__.py")
        assert "nothing is left behind" in " ".join(" ".join(lines).split())


def test_the_archive_has_what_the_checkout_has(builds: Builds) -> None:
    with tarfile.open(builds.archive()) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    assert {
        "Makefile",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "packaging/debian/rules",
        "units/mountwarden.service",
        "docs/reference.md",
    } <= names
    assert {"packaging/setup", "tests/unit/report-2.fields", "agent/mountwarden/data/report-2.schema.json"} <= names
    assert [name for name in names if "/.venv/" in f"/{name}" or name.endswith((".pyc", ".deb"))] == []


def test_the_wheel_has_the_package_alone(builds: Builds) -> None:
    with zipfile.ZipFile(builds.wheel()) as wheel:
        names = wheel.namelist()
    assert "mountwarden/data/report-2.schema.json" in names
    assert "mountwarden/py.typed" in names
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"mountwarden"}
