"""The rounds of dead.py where CRIU works: of one bystander of each engine a checkpoint is made in every round, and of
some victims, which are killed at it.

CRIU 3.17, which bookworm has, does not start on Linux 6.18 and later (its vDSO has more areas than CRIU knows).
"""

import contextlib

from tests.support.dead import STATE, Fleet, Kinds, Strike
from tests.support.machine import Machine


def works(host: Machine) -> bool:
    """Whether containers can be checkpointed there."""
    return host.run("sh", "-c", "criu check", check=False).returncode == 0


class CheckpointingFleet(Fleet):
    """What is saved is frozen meanwhile, its shim asks for nothing else, and a dead CRIU may have taken it along."""

    _dockerd = ("--experimental",)

    def start(self) -> None:
        """One container more of each engine."""
        super().start()
        self.host.docker("run", "-d", "--network=none", "--name=saved", "bb", "sleep", "100000")
        self.host.ctr(*self._task("saved"))
        self._podman("saved")
        new = {point: one["id"] for point, one in self.truth().items() if point not in self.bystanders}
        self.bystanders |= new
        self.restarting |= new.keys()

    def round(self) -> None:
        """The same, while those are saved."""
        for save in (
            f"docker checkpoint create --leave-running saved v{self._number}",
            "ctr tasks checkpoint --image-path=/root/saved saved",
            "podman container checkpoint --leave-running saved",
        ):
            self._begin("sh", "-c", f"exec {save}")
        super().round()

    def _of_containerd(self, held: contextlib.ExitStack) -> Kinds:
        name = f"v{self._number}t"

        def saved() -> list[Strike]:
            self.host.ctr(*self._task(name))
            self._begin("ctr", "tasks", "checkpoint", "--image-path=/root/saved-v", name)
            shim = {"cmdline": f"containerd-shim-runc-v2 .*-id {name} ", "called": "shim"}
            init = {"point": f"{STATE}/{name}/rootfs", "called": "init"}
            return self._shuffled([shim, init, self._saver({"comm": "containerd"})], 0.3)

        return {**super()._of_containerd(held), "task's checkpoint": saved}

    def _of_docker(self, held: contextlib.ExitStack) -> Kinds:
        name = f"v{self._number}d"

        def saved() -> list[Strike]:
            self.host.docker("run", "-d", "--network=none", f"--name={name}", "bb", "sleep", "1000")
            save, restore = f"docker checkpoint create {name} one", f"docker start --checkpoint=one {name}"
            self._begin("sh", "-c", f"{save} && {restore}")
            return [self._at(self._saver({"comm": "dockerd"}), 1.5)]

        return {**super()._of_docker(held), "container's checkpoint": saved}

    def _of_podman(self) -> Kinds:
        name = f"v{self._number}p"

        def saved() -> list[Strike]:
            self._podman(name)
            self._begin("sh", "-c", f"podman container checkpoint {name} && podman container restore {name}")
            return [self._at(self._saver({"cmdline": f"conmon .*-n {name} ", "called": "conmon"}), 1.0)]

        return {**super()._of_podman(), "podman's checkpoint": saved}

    def _saver(self, other: Strike) -> Strike:
        """CRIU, or who asked for the checkpoint."""
        return self.random.choice([{"comm": "criu"}, other])
