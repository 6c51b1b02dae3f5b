"""The directives that make a mount namespace, beside what the real PID 1 makes of them."""

from tests.support.machine import Machine


def test_the_plugin_names_all_that_gave_it_a_mount_namespace(host: Machine) -> None:
    settings = ("MountFlags=private", "PrivateTmp=yes", "PrivateIPC=yes", "ProtectProc=default")
    words = ("systemd-run", "--quiet", "--wait", "--pipe", "--unit=plugin", *(f"-p{text}" for text in settings))
    done = host.run(*words, "mountwarden", "graphdriver", check=False)
    assert done.returncode == 78
    assert done.stderr.startswith(
        "mountwarden: mounts made here do not reach the host: dockerd would see empty containers "
        "(plugin.service has MountFlags=private, PrivateTmp=yes, PrivateIPC=yes)\n"
    )
