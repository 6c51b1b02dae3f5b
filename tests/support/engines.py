"""Real container engines on a test host, without a network: one image, imported from an archive in the tree."""

import shlex
import subprocess

from tests.support import rootfs
from tests.support.shell import Shell

IMAGE = "bb"
DOCKER_FLAGS = ("--iptables=false", "--ip6tables=false", "--ip-masq=false", "--bridge=none", "--shutdown-timeout=1")

CONTAINERD_STORE = "--feature=containerd-snapshotter=true"
"""A flag of dockerd's since 27: images and containers' file systems are containerd's matter, as by default since 29."""

USER = "user"
_ROOTLESS = {
    "storage.conf": '[storage]\ndriver = "overlay"\n',
    "containers.conf": '[containers]\nnetns = "none"\ncgroups = "disabled"\n[engine]\nruntime = "crun"\n',
}


class Engines(Shell):
    """Docker, podman, buildah and containerd. See also cri.py, incus.py and buildkit.py."""

    def start_docker(self, *flags: str) -> None:
        """Start docker.service with further flags of dockerd, and wait until it serves."""
        options = shlex.join([*DOCKER_FLAGS, *flags])
        self.write("/etc/default/docker", f'DOCKER_OPTS="{options}"\n')
        # Tests start it more often than systemd's limit for a unit allows, and the socket has a limit of its own.
        self.run("systemctl", "reset-failed", "docker.service", "docker.socket", "containerd.service", check=False)
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

    def buildah(self, *argv: str, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run buildah as root. It shares podman's storage and images."""
        return self.run("buildah", *argv, check=check, timeout=timeout)

    def start_rootless(self) -> None:
        """Log the user `user` (uid 1000) in for good, and import the image into this user's own storage."""
        self.run("install", "-d", "-o", USER, "-g", USER, "-m", "700", f"/home/{USER}")
        for name, text in _ROOTLESS.items():
            self.write(f"/home/{USER}/.config/containers/{name}", text)
        self.run("chown", "-R", f"{USER}:", f"/home/{USER}")
        self.run("loginctl", "enable-linger", USER)
        self.run("systemctl", "start", "user@1000.service")
        self.rootless("import", rootfs.ARCHIVE, IMAGE)

    def rootless(self, *argv: str, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run podman as `user`."""
        return self.as_user("podman", *argv, check=check, timeout=timeout)

    def as_user(self, *argv: str, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command as `user`, in this user's home."""
        identity = ("setpriv", "--reuid=1000", "--regid=1000", "--init-groups", "env", "-C", f"/home/{USER}")
        env = {"XDG_RUNTIME_DIR": "/run/user/1000", "HOME": f"/home/{USER}", "USER": USER}
        return self.run(*identity, *argv, check=check, timeout=timeout, env=env)

    def ctr(self, *argv: str, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run containerd's client. `ctr run` wants `--cpu-shares 0` where control groups have no controllers."""
        return self.run("ctr", *argv, check=check, timeout=timeout)

    def import_image(self, engine: str = "docker") -> str:
        """Import the busybox image into "docker", "podman" (and so buildah) or, with docker's help, "ctr".

        Returns its name there.
        """
        if engine == "ctr":
            self.run("sh", "-c", 'docker save "$1" | ctr image import -', "sh", IMAGE)
            return f"docker.io/library/{IMAGE}:latest"
        self.run(engine, "import", rootfs.ARCHIVE, IMAGE)
        return IMAGE
