"""Real container engines on a test host, without a network: one image, imported from an archive in the tree."""

import shlex
import subprocess

from tests.support import rootfs
from tests.support.shell import Shell

IMAGE = "bb"
DOCKER_FLAGS = ("--iptables=false", "--ip6tables=false", "--ip-masq=false", "--bridge=none", "--shutdown-timeout=1")


class Engines(Shell):
    """Docker, podman and containerd."""

    def start_docker(self, *flags: str) -> None:
        """Start docker.service with further flags of dockerd, and wait until it serves."""
        options = shlex.join([*DOCKER_FLAGS, *flags])
        self.write("/etc/default/docker", f'DOCKER_OPTS="{options}"\n')
        self.run("systemctl", "start", "docker.service")

    def stop_docker(self) -> None:
        """Stop dockerd, its socket and its containerd."""
        self.run("systemctl", "stop", "docker.socket", "docker.service", "containerd.service")

    def docker(self, *argv: str, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run the docker client."""
        return self.run("docker", *argv, check=check, timeout=timeout)

    def podman(self, *argv: str, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run podman as root."""
        return self.run("podman", *argv, check=check, timeout=timeout)

    def import_image(self, engine: str = "docker") -> str:
        """Import the busybox image into "docker" or "podman" (and so buildah); returns its name."""
        self.run(engine, "import", rootfs.ARCHIVE, IMAGE)
        return IMAGE
