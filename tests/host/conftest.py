"""Tests on a booted systemd."""

from tests.support.fixtures import builds, host

__all__ = ["builds", "host"]
