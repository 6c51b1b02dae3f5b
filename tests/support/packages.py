"""What the test host's tree holds, by what needs it. Any change here gives a new tree, built at the next run."""

BASE = (
    # a host that boots, and that an operator can look around in
    "systemd", "systemd-sysv", "systemd-container", "dbus", "dbus-user-session", "libpam-systemd",
    "procps", "psmisc", "lsof", "iproute2", "util-linux", "kmod", "make", "bash-completion",
    # the engines
    "docker.io", "containerd", "runc", "crun", "podman", "buildah", "fuse-overlayfs", "uidmap", "slirp4netns",
    "ca-certificates", "iptables",
    # the product's own needs, as its package will ask for them
    "python3", "python3-venv", "python3-pystemd", "python3-sdnotify",
    # what images, hostile tests and remedies need
    "busybox-static", "strace", "fuse3", "libcap2-bin",
    # file systems and block devices
    "e2fsprogs", "xfsprogs", "btrfs-progs", "acl", "attr", "dmsetup", "cryptsetup-bin",
)  # fmt: skip

TODAY = "forky"
"""The suite whose systemd, Python and engines are the newest: the test host of today."""
_NEWEST = (
    "docker-cli", "docker-buildx", "containernetworking-plugins", "incus-base", "incus-client", "netavark",
    # asks containerd for pods, over HTTP/2 on its socket; pivot_root, once of util-linux; checkpoints of containers
    "curl", "util-linux-extra", "criu",
)  # fmt: skip

SUITES: dict[str, tuple[str, ...]] = {
    "bookworm": (),
    "trixie": ("docker-cli",),
    TODAY: _NEWEST,
    "sid": _NEWEST,
}
"""What a suite splits off from a package of BASE; for testing and unstable, the engines that older ones lack too."""

EXTRAS: dict[str, tuple[str, ...]] = {
    "metrics": ("prometheus", "prometheus-node-exporter"),
    "shells": ("zsh", "fish"),
    "bench": ("python3-psutil",),
}
"""Packages that only some `long` tests need; each extra that is asked for gives a tree of its own."""
