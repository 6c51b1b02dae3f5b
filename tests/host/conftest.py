"""Tests on a booted systemd."""

from tests.support.fixtures import host

__all__ = ["host"]
