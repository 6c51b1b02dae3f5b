"""The documents' screens are what the commands print, and the newcomer's path leads where the README says."""

from collections.abc import Iterator

import pytest

from tests.support import screens
from tests.support.fixtures import booted
from tests.support.machine import Machine

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]


@pytest.fixture
def fresh_host() -> Iterator[Machine]:
    """A host on which nothing happened yet, as the documents' was."""
    with booted() as machine:
        machine.start_docker()
        machine.import_image("docker")
        yield machine


def test_every_screen_of_the_documents_is_what_is_printed(fresh_host: Machine) -> None:
    shown, made = screens.shown(), screens.screens(fresh_host)
    assert shown.keys() == made.keys()
    for name, texts in shown.items():
        printed = screens.normal(screens.shortened(made[name]))
        for text in texts:
            assert screens.normal(text) == printed, f"{name}: run packaging/screens.py"


def test_from_docker_rm_says_busy_to_the_cause_in_two_commands(fresh_host: Machine) -> None:
    host = fresh_host
    host.docker("run", "-d", "--name", "web", "--network", "none", "bb", "sleep", "1000")
    host.run("sh", "-c", "mkdir /srv/chroot && mount --rbind / /srv/chroot && mount --make-rprivate /srv/chroot")
    refused = host.docker("rm", "-f", "web", check=False)
    assert refused.returncode == 1
    first = host.run("mountwarden", check=False)
    assert (first.returncode, "nothing is wrong" in first.stdout) == (0, True)
    second = host.run("mountwarden", "who", screens.busy_path(refused.stderr), check=False)
    mountpoint = screens.busy_mount(second.stdout)
    assert mountpoint == f"/srv/chroot{screens.busy_path(refused.stderr)}"
    host.run("umount", mountpoint)
    assert host.docker("rm", "-f", "web").stdout == "web\n"
    host.run("umount", "-R", "/srv/chroot")


def test_a_leaked_layer_s_cause_in_two_commands(fresh_host: Machine) -> None:
    host = fresh_host
    host.write("/etc/systemd/system/php-fpm.service", screens.HOLDER)
    host.run("systemctl", "daemon-reload")
    host.run("sh", "-c", screens.MOUNT)
    host.run("systemctl", "start", "php-fpm")
    host.run("umount", f"{screens.LAYER}/merged")
    first = host.run("mountwarden", check=False)
    assert (first.returncode, "php-fpm.service\n● leaked: " in first.stdout) == (1, True)
    second = host.run("mountwarden", "explain", screens.the_leak(host), check=False)
    assert "MountFlags=private (/etc/systemd/system/php-fpm.service:5)" in second.stdout
