"""Tests with real container engines on a booted systemd."""

from tests.support.fixtures import docker_host, host, podman_host

__all__ = ["docker_host", "host", "podman_host"]
