"""The running service's metrics: there, readable by node_exporter's user, and going up and down with a real leak."""

from tests.support.machine import Machine
from tests.support.wait import wait_until

FILE = "/var/lib/metrics/mountwarden.prom"
LAYER = "/srv/layers/one"
CONFIG = f'metrics = "{FILE}"\nmode = "observe"\n[[root]]\npath = "/srv/layers"\nkind = "graph"\n'
MAKE = f"""
set -e; mkdir -p /srv/layers; mount -t tmpfs -o mode=755 layers /srv/layers; mount --make-shared /srv/layers
mkdir -p {LAYER}/lower {LAYER}/upper {LAYER}/work {LAYER}/merged
mount -t overlay overlay -o lowerdir={LAYER}/lower,upperdir={LAYER}/upper,workdir={LAYER}/work {LAYER}/merged
"""
LEAKED = 'mountwarden_findings{kind="leaked",engine="custom",severity="warning"}'


def value(host: Machine, sample: str) -> str:
    done = host.run("cat", FILE, check=False)
    return next((line.split()[-1] for line in done.stdout.splitlines() if line.startswith(sample)), "")


def test_a_leak_counts_while_it_is_there(host: Machine) -> None:
    host.write("/etc/mountwarden/mountwarden.toml", CONFIG)
    host.run("sh", "-c", MAKE)
    host.run("systemctl", "start", "mountwarden")
    wait_until(lambda: value(host, LEAKED) == "0", 30, "the file is there, with a series at 0")
    as_nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    assert host.run(*as_nobody, "cat", FILE).stdout, "the collector is another user"
    host.unit("leaky", "PrivateTmp=yes", "MountFlags=private")
    host.run("umount", f"{LAYER}/merged")
    wait_until(lambda: value(host, LEAKED) == "1", 30, "the leak counts")
    assert float(value(host, "mountwarden_oldest_finding_timestamp_seconds")) > 1e9
    assert host.run("mountwarden", "detach", "--all", "--yes", check=False).returncode == 0
    wait_until(lambda: value(host, LEAKED) == "0", 30, "it counts no more")
    host.run("systemctl", "stop", "leaky.service", "mountwarden")
