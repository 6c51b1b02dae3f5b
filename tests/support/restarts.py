"""Services that restart every 2 seconds: their mount namespaces come and go, each with copies of what lives then."""

from tests.support.machine import Machine

_UNITS = {
    "churn-private": ("PrivateTmp=yes", "MountFlags=private"),
    "churn-slave": ("MountFlags=slave",),
    "churn-plain": ("PrivateTmp=yes", "ProtectSystem=strict"),
}
_RESTART = f"while :; do sleep 2; systemctl restart {' '.join(_UNITS)}; done"


def start(host: Machine) -> None:
    """From now on. Unit files, no transient units: `systemctl restart` of those ends them."""
    for unit, properties in _UNITS.items():
        lines = "\n".join(("[Service]", "ExecStart=/bin/sleep infinity", *properties))
        host.write(f"/etc/systemd/system/{unit}.service", f"{lines}\n")
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "start", *_UNITS)
    host.run("systemd-run", "--unit=restarts", "sh", "-c", _RESTART)


def stop(host: Machine) -> None:
    """They go on running, and restart no more."""
    host.run("systemctl", "stop", "restarts")
