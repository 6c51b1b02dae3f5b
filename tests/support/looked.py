"""Waiting for a look of the running service."""

import json

from mountwarden.escape import seconds

from tests.support.machine import Machine
from tests.support.wait import wait_until


def await_look(host: Machine, moment: float, timeout: float = 30) -> None:
    """Wait until the service has looked after that moment, in seconds since the Epoch.

    It looks when somebody asks; the file of its last report may be half a minute older than its last look.
    """

    def has_looked() -> bool:
        told = host.run("mountwarden", "report", "--json", "--no-wait", check=False).stdout
        return bool(told) and seconds(json.loads(told)["taken"]) > moment

    wait_until(has_looked, timeout, "the service has looked")
